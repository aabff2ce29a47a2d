"""Build two versions of an instruction data set, and load the first again by its UUID.

python examples/dataset_versions/run.py
"""

from __future__ import annotations

from pipeline import build_dataset

from rayform import Client


def main() -> None:
    """Build with two split ratios, list the versions, and load one of them."""
    first = build_dataset(train_share=0.9).steps["split"].outputs["instructions_train"]
    second = build_dataset(train_share=0.8).steps["split"].outputs["instructions_train"]

    client = Client()
    for version in client.list_artifact_versions(artifact="instructions_train", size=2, hydrate=True):
        facts = version.run_metadata
        print(
            f"instructions_train {version.version}: {facts['records']} records, "
            f"{facts['split_ratio']:.1%} of all, {version.size:,} bytes, id {version.id}"
        )

    again = client.get_artifact_version(first.id)
    examples = again.load()
    assert len(examples) == again.run_metadata["records"]
    assert second.version != again.version
    print(f"\nLoaded version {again.version} by its UUID {again.id}: {len(examples)} examples, such as")
    print(f"  {examples[0]['instruction']}\n  {examples[0]['output'].splitlines()[0]}")


if __name__ == "__main__":
    main()
