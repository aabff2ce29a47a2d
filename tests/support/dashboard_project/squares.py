"""A small pipeline with a map, tables, pictures, a model, metadata and, if asked for, a failure."""

import sys
from typing import Annotated

import pandas as pd

from rayform import Model, log_metadata, pipeline, step


@step
def numbers(n: int) -> list[int]:
    """Return numbers."""
    print(f"making {n} numbers")
    return list(range(n))


@step
def square(x: int) -> int:
    """Return a square."""
    print(f"\x1b[32msquare\x1b[0m of {x}")
    return x * x


@step
def table(xs: list[int]) -> Annotated[pd.DataFrame, "squares"]:
    """Return a table, with metadata."""
    log_metadata({"rows": len(xs), "total": float(sum(xs))}, infer_artifact=True)
    return pd.DataFrame({"number": range(len(xs)), "square": xs})


@step
def report(squares: pd.DataFrame) -> Annotated[str, "report"]:
    """Return a text, and print a long log."""
    for i in range(3000):
        print("line", i)
    log_metadata({"error": 1 / (1 + len(squares)), "rows": len(squares)}, infer_model=True)
    return f"The sum is {squares['square'].sum()}."


@step(enable_cache=False)
def check(text: str, fail: bool) -> None:
    """Fail if asked to."""
    if fail:
        raise ValueError(f"the check of {text!r} failed")


@pipeline(model=Model("squares"))
def training(n: int = 4, fail: bool = False):
    """Square numbers."""
    check(report(table(square.map(numbers(n)))), fail)


if __name__ == "__main__":
    training(n=int(sys.argv[1]), fail=len(sys.argv) > 2)
