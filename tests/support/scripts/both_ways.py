"""Runs a script's pipeline in the way that `HOW` names, and writes what its steps returned to `OUTCOME`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

CLASSES_OF_SCRIPT = ("__main__", "__mp_main__")


def finish(pipeline: Any, *arguments: Any) -> None:
    """Call the pipeline's steps plainly (`HOW=direct`) or in a run (`HOW=run`), and write down what came out."""
    if os.environ["HOW"] == "direct":
        returned = pipeline.entrypoint(*arguments)
        values = list(returned) if isinstance(returned, tuple) else [returned]
    else:
        run = pipeline(*arguments)
        values = [run.steps[key].outputs[output].load() for key, output in run.config["outputs"]]
    Path(os.environ["OUTCOME"]).write_text(json.dumps([described(value) for value in values], indent=1))


def described(value: Any) -> Any:
    """Return a value as text that tells it, and its type, from others."""
    kind = type(value)
    if isinstance(value, list | tuple):
        return [kind.__name__, *map(described, value)]
    if isinstance(value, dict):
        return [kind.__name__, *([described(key), described(item)] for key, item in value.items())]
    return f"{kind.__module__}.{kind.__qualname__} {value!r}"
