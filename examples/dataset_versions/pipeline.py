"""Builds an instruction data set from real text: collects, cleans, splits and describes it, as a new version."""

from __future__ import annotations

import hashlib
from typing import Annotated

from docstrings import MODULES, first_part, read_module

from rayform import ArtifactConfig, get_logger, get_step_context, pipeline, step
from rayform.types import MarkdownString

Records = list[dict[str, str]]

logger = get_logger(__name__)


@step
def collect(modules: list[str]) -> Annotated[Records, ArtifactConfig(name="docstrings", tags=["raw"])]:
    """Read the documentation strings of these modules of the standard library."""
    records = [record for module in modules for record in read_module(module)]
    logger.info("%d documentation strings in %d modules", len(records), len(modules))
    return records


@step
def clean(
    records: Records, shortest: int = 40, longest: int = 1500
) -> Annotated[Records, ArtifactConfig(name="instructions", tags=["clean"])]:
    """Make questions and answers; leave out answers that are too short, too long or repeated.

    Args:
        records: what `collect` read.
        shortest, longest: characters that an answer may have.
    """
    seen: set[str] = set()
    kept: Records = []
    dropped = {"short": 0, "long": 0, "repeated": 0}
    for record in records:
        answer = first_part(record["text"])
        if len(answer) < shortest:
            dropped["short"] += 1
        elif len(answer) > longest:
            dropped["long"] += 1
        elif answer in seen:
            dropped["repeated"] += 1
        else:
            seen.add(answer)
            question = f"What does the {record['kind']} `{record['name']}{record['signature']}` do?"
            kept.append({"instruction": question, "output": answer, "source": record["name"]})
    get_step_context().add_output_metadata({"records": len(kept), "dropped": dropped})
    return kept


@step
def split(
    examples: Records, train_share: float
) -> tuple[
    Annotated[Records, ArtifactConfig(name="instructions_train", tags=["instructions", "train"])],
    Annotated[Records, ArtifactConfig(name="instructions_test", tags=["instructions", "test"])],
]:
    """Split by a hash of each question, so that an example stays on its side if others are added or removed.

    Args:
        examples: questions and answers.
        train_share: share of the training part, between 0 and 1.
    """
    train: Records = []
    test: Records = []
    for example in examples:
        digest = hashlib.sha256(example["source"].encode()).digest()
        side = train if int.from_bytes(digest[:8]) / 2**64 < train_share else test
        side.append(example)
    context = get_step_context()
    for name, part in (("instructions_train", train), ("instructions_test", test)):
        context.add_output_metadata(
            {
                "records": len(part),
                "characters": sum(len(e["instruction"]) + len(e["output"]) for e in part),
                "wanted_train_share": train_share,
                "split_ratio": round(len(part) / len(examples), 4) if examples else 0.0,
            },
            output_name=name,
        )
    return train, test


@step
def describe(
    train: Records, test: Records
) -> Annotated[MarkdownString, ArtifactConfig(name="dataset_card", tags=["instructions"])]:
    """Write a card that describes the data set."""
    sample = train[0] if train else {"instruction": "-", "output": "-"}
    return MarkdownString(
        "# Instructions from the standard library's documentation\n\n"
        f"| part | records |\n| --- | --- |\n| train | {len(train)} |\n| test | {len(test)} |\n\n"
        f"**{sample['instruction']}**\n\n{sample['output']}\n"
    )


@pipeline
def build_dataset(modules: list[str] = MODULES, train_share: float = 0.9) -> None:
    """Build one version of the data set.

    Args:
        modules: modules of the standard library to read.
        train_share: share of the training part, between 0 and 1.
    """
    examples = clean(collect(modules))
    train, test = split(examples, train_share)
    describe(train, test)
