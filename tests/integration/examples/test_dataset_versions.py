"""The example `examples/dataset_versions` as a person runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rayform.reading.client import Client

EXAMPLE = Path(__file__).parents[3] / "examples" / "dataset_versions"


def test_builds_versions_and_loads_one_by_uuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds make two versions with sizes and split ratios; the first loads again by its UUID."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYFORM_STACK", raising=False)
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py")],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={**os.environ, "RAYFORM_PROGRESS": "plain"},
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"by its UUID ([0-9a-f-]{36}): (\d+) examples", done.stdout)
    assert found is not None, done.stdout
    with Client("default") as client:
        version = client.get_artifact_version(found[1])
        examples = version.load()
        assert len(examples) == int(found[2]) > 1000
        assert all(40 <= len(e["output"]) <= 1500 for e in examples)
        assert len({e["output"] for e in examples}) == len(examples)
        assert version.tags == ["instructions", "train"]
        facts = version.run_metadata
        assert facts["records"] == len(examples)
        assert abs(facts["split_ratio"] - 0.9) < 0.03
        versions = client.list_artifact_versions(artifact="instructions_train")
        assert [v.version for v in versions] == ["2", "1"]
        test = client.get_artifact_version("instructions_test", 1).load()
        assert not {e["source"] for e in test} & {e["source"] for e in examples}
        # The second build only split anew: the raw text came from the cache.
        assert client.list_artifact_versions(artifact="docstrings").total == 1
        assert "# Instructions" in next(
            iter(client.get_artifact_version("dataset_card").visualize().values())
        )
