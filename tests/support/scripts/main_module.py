"""Looks at its own module as `__main__`."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import typing
from dataclasses import dataclass

from both_ways import finish

from rayform import pipeline, step

LOGGER = logging.getLogger(__name__)


@dataclass
class Settings:
    depth: int


def depth_of(settings: Settings) -> int:
    return settings.depth


@step
def facts() -> list:
    import __main__

    main = sys.modules["__main__"]
    return [
        __name__,
        LOGGER.name,
        main is __main__,
        __main__.depth_of is depth_of,
        main.__spec__,
        main.__package__,
        main.__file__ == __file__,
        type(main.__loader__).__name__,
        getattr(main, "__cached__", "missing"),
        main.__doc__,
        sys.argv[1:],
        sys.argv[0].endswith("main_module.py"),
        importlib.import_module("__main__") is main,
    ]


@step
def inspected() -> list:
    return [
        inspect.getmodule(depth_of) is sys.modules["__main__"],
        inspect.getsource(depth_of),
        typing.get_type_hints(depth_of)["settings"] is Settings,
        [name for name, _ in inspect.getmembers(sys.modules["__main__"], inspect.isclass)],
        __name__ == "__main__",
    ]


@pipeline
def looking() -> object:
    return facts(), inspected()


if __name__ == "__main__":
    finish(looking)
