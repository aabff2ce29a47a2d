"""Dynamic pipelines that tests run for real."""

# A plain call has the type of the value, so that `.load()` on it is unknown to Pyright.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Annotated, Any

from rayform import StepFailedError, StepSkippedError, pipeline, step, unmapped


def mark(folder: str, name: str) -> None:
    """Note that a step ran: one file for each time."""
    (Path(folder) / f"{name}.{uuid.uuid4()}").touch()


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def double(value: int) -> int:
    return 2 * value


@step
def add(values: list[int]) -> int:
    return sum(values)


@step
def both(value: int) -> tuple[Annotated[int, "low"], Annotated[str, "high"]]:
    return value - 1, f"high {value}"


@step
def multiply(a: int, b: int, plus: int = 0) -> int:
    return a * b + plus


@step
def join(a: int, b: str) -> str:
    return f"{a} {b}"


@step
def fails(message: str = "no good") -> int:
    raise ValueError(message)


@step
def nothing(folder: str) -> None:
    mark(folder, "nothing")


@step
def slow(seconds: float, name: str) -> float:
    time.sleep(seconds)
    return time.time()


@pipeline(dynamic=True)
def control_flow(start: int = 3) -> None:
    """`if`, `for`, `while` and real values."""
    value = double(start).load()
    while value < 30:
        value = double(value).load()
    for number in numbers(3).load():
        double(number)
    if value > 30:
        multiply(value, 2)
    else:
        fails()


@pipeline(dynamic=True)
def fan_out() -> None:
    """Futures, maps, products, elements and several outputs."""
    listed = numbers(4)
    futures = [double.submit(n) for n in listed.load()]
    assert sum(f.load() for f in futures) == 12
    add(futures)
    mapped = double.map(listed)
    assert mapped.load() == [0, 2, 4, 6] and len(mapped) == 4
    add(mapped)
    products = multiply.product([1, 2], listed, plus=1)
    assert products.load() == [1, 2, 3, 4, 1, 3, 5, 7]
    lows, highs = both.map([5, 6]).unpack()
    joined = join.map(lows, highs)
    assert joined.load() == ["4 high 5", "5 high 6"]
    low, high = both.submit(9)
    assert join(low, high).load() == "8 high 9"
    assert double(listed.chunk(3)).load() == 6
    assert multiply.map(a=listed, b=unmapped(10)).load() == [0, 10, 20, 30]


@pipeline
def static_part(count: int) -> Any:
    return add(double.map(numbers(count)))


@pipeline(dynamic=True)
def search(depth: int) -> Any:
    """Recursion."""
    return double(1) if depth == 0 else double(search(depth - 1))


@pipeline(dynamic=True)
def with_parts() -> None:
    assert static_part(3).load() == 6
    assert search(3).load() == 16


@pipeline(dynamic=True)
def handled() -> None:
    """A failure that the body catches, and what depends on it."""
    future = fails.submit()
    dependent = double.submit(future)
    try:
        future.load()
    except StepFailedError as error:
        assert error.step_key == "fails" and error.error.type == "ValueError"
        double(21)
    try:
        dependent.load()
    except StepSkippedError as skipped:
        assert skipped.step_key == "double"


@pipeline(dynamic=True)
def unhandled(is_asked: bool) -> None:
    future = fails.submit("on purpose")
    double(1)
    if is_asked:
        future.load()


@pipeline(dynamic=True)
def broken(how: str) -> None:
    value = double(1)
    if how == "value":
        raise RuntimeError("the body's own mistake")
    if how == "condition" and value:
        pass
    if how == "argument":
        double()  # type: ignore[call-arg]
    if how == "thread":
        import threading

        errors: list[BaseException] = []

        def call() -> None:
            from rayform.authoring.steps import current_trace

            token = current_trace.set(trace)
            try:
                double(2)
            except BaseException as error:
                errors.append(error)
            finally:
                current_trace.reset(token)

        from rayform.authoring.steps import current_trace

        trace = current_trace.get()
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        raise errors[0]


@pipeline(dynamic=True)
def side_by_side() -> None:
    first, second = slow.submit(0.6, "a"), slow.submit(0.6, "b")
    assert abs(first.load() - second.load()) < 0.5
