"""Reads files next to the script and in the working folder."""

import os
from pathlib import Path

from both_ways import finish

from rayform import pipeline, step

HERE = Path(__file__).parent
TEXT = (HERE / "note.txt").read_text()


@step
def texts() -> list:
    return [TEXT, Path("note.txt").read_text(), Path(__file__).name, os.path.isabs(__file__)]


@step
def written() -> str:
    Path("written.txt").write_text("by a step")
    return str(Path("written.txt").resolve().relative_to(Path.cwd()))


@pipeline
def reading() -> object:
    return texts(), written()


if __name__ == "__main__":
    finish(reading)
