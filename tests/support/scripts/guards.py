"""Has guards of several forms, which only the user's own process enters."""

import atexit
import sys

from both_ways import finish

from rayform import pipeline, step

IS_MAIN = __name__ == "__main__"
ENTERED = []

if "__main__" == __name__:  # noqa: SIM300 - the form is what is tested
    ENTERED.append("reversed")
if __name__ in ("__main__", "other"):
    ENTERED.append("among others")
if __name__ != "__main__":  # noqa: SIM108 - likewise
    SIDE = "imported"
else:
    SIDE = "main"


@step
def numbers() -> list:
    return [1, 2, __name__]


@pipeline
def counting() -> object:
    return numbers()


def main() -> int:
    assert IS_MAIN
    assert ENTERED == ["reversed", "among others"]
    assert SIDE == "main"
    finish(counting)
    return 0


if __name__ == "__main__" and not sys.flags.interactive:
    atexit.register(print, "end")
    sys.exit(main())
