"""Logs metadata and tags of its own types, and one value that can't be kept."""

import os
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath

from both_ways import finish

from rayform import get_step_context, pipeline, step


class Split(StrEnum):
    TRAIN = "train"


class Level(IntEnum):
    HIGH = 3


class Kind(Enum):
    PAIR = (1, 2)


class Text(str):
    """Text of a class of the script."""


class Place(PurePosixPath):
    """A path of a class of the script."""


VALUES = {
    "split": Split.TRAIN,
    "level": Level.HIGH,
    "kind": Kind.PAIR,
    "text": Text("t"),
    "place": Place("/x"),
    "nested": {"splits": [Split.TRAIN], "pair": (Level.HIGH, Text("u"))},
    Text("key"): 1,
}


@step
def logged() -> int:
    if os.environ["HOW"] == "run":
        context = get_step_context()
        context.add_step_metadata(VALUES)
        context.add_run_metadata({"split": Split.TRAIN})
        context.add_output_metadata(VALUES)
        context.add_output_tags([Split.TRAIN, Text("tag")])
    return 1


@step
def failing() -> int:
    if os.environ["HOW"] == "run":
        get_step_context().add_step_metadata({"split": Split.TRAIN})
    raise ValueError("on purpose")


@pipeline
def logging() -> object:
    return logged()


@pipeline
def failing_later() -> object:
    failing()
    return logged()


if __name__ == "__main__":
    if os.environ["HOW"] == "run":
        from rayform import Client
        from rayform_core.errors import PipelineFailedError

        try:
            failing_later()
        except PipelineFailedError:
            pass
        run = Client().list_pipeline_runs()[0]
        assert run.steps["failing"].run_metadata == {"split": "train"}, run.steps["failing"].run_metadata
        version = run.steps["logged"].outputs["output"][0]
        for metadata in (run.steps["logged"].run_metadata, version.run_metadata):
            assert metadata["nested"] == {"splits": ["train"], "pair": (3, "u")}, metadata
            assert (metadata["split"], metadata["level"], metadata["text"], metadata["key"]) == (
                "train",
                3,
                "t",
                1,
            )
        assert sorted(version.tags) == ["tag", "train"], version.tags
        assert run.run_metadata["split"] == "train"
    finish(logging)
