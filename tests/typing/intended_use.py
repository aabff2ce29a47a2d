"""What people are meant to write: checked by mypy and pyright in `test_typing.py`, never run.

`assert_type` says what an editor shows. Lines that must be refused carry `# type: ignore`/`# pyright: ignore`,
and both checkers report an ignore that isn't needed. (mypy doesn't hold the elements of a
mapped list against the step's first argument; pyright does.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from rayform import (
    ArtifactConfig,
    ArtifactType,
    ImageSpec,
    Pipeline,
    Resources,
    RetryPolicy,
    Step,
    pipeline,
    step,
    unmapped,
)


@dataclass
class Network:
    """A user-defined type."""

    layers: list[int]


def tell(error: BaseException) -> None:
    """A hook."""


@step
def load(rows: int = 10) -> Annotated[list[float], "numbers"]:
    """Bare decorator."""
    return [1.0] * rows


@step(
    name="split",
    enable_cache=False,
    retry=RetryPolicy(max_retries=2, delay=1, backoff=2),
    timeout=60,
    resources=Resources(cpus=0.5, gpus=1, memory=2**30),
    environment={"OMP_NUM_THREADS": "1"},
    image=ImageSpec(requirements=["scikit-learn"]),
    on_failure=tell,
    settings={"docker": {"apt_packages": ["git"]}},
)
def split(
    numbers: list[float], share: float = 0.8
) -> tuple[
    Annotated[list[float], ArtifactConfig(name="train", tags=["a"], artifact_type=ArtifactType.DATA)],
    Annotated[list[float], "test"],
]:
    """Decorator with options; two outputs."""
    middle = int(len(numbers) * share)
    return numbers[:middle], numbers[middle:]


@step(retry=3)
def train(numbers: list[float], epochs: int) -> Network:
    """A type of one's own."""
    return Network([epochs])


@step
def evaluate(network: Network, numbers: list[float]) -> float:
    """One number out."""
    return 0.5


@step
def square(number: float) -> float:
    """Mapped below."""
    return number**2


@step
def divide(number: float, by: float = 1.0) -> tuple[int, float]:
    """Mapped below, with two outputs."""
    return int(number // by), number % by


@step
def total(numbers: list[float]) -> float:
    """Joins a map."""
    return sum(numbers)


@step
def tell_all() -> None:
    """No output."""


assert_type(train([1.0], epochs=2), Network)
assert_type(load(), list[float])


@pipeline
def features(rows: int = 10) -> list[float]:
    """A pipeline that returns a step's output."""
    return load(rows)


@pipeline(enable_cache=True, tags=["nightly"], environment={"A": "b"}, on_failure=tell)
def training(rows: int = 10, *, epochs: int = 3) -> None:
    """Wires steps; every call is typed as what the function returns."""
    numbers = load(rows)
    assert_type(numbers, list[float])
    train_part, test_part = split(numbers, share=0.5)
    assert_type(train_part, list[float])
    network = train(train_part, epochs)
    assert_type(network, Network)
    score = evaluate(network, numbers=test_part)
    assert_type(score, float)
    tell_all.after(score, network)()
    train.with_options(resources=Resources(gpus=1), id="big", parameters={"epochs": 9})(train_part, 4)


@pipeline
def fan_out() -> None:
    """Maps and joins."""
    squares = square.map(load())
    assert_type(squares, list[float])
    assert_type(total(squares), float)
    whole, rest = divide.map(squares, by=unmapped(2.0))
    assert_type(whole, list[int])
    assert_type(rest, list[float])
    total(square.map(number=load()))
    total([square(1.0), square(2.0)])


@pipeline
def nested() -> None:
    """One pipeline in another."""
    assert_type(features.inline(rows=3), list[float])
    total(features(rows=3))


def refused() -> None:
    """What a checker must refuse."""
    train([1.0])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    train("text", 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    train([1.0], epoch=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    square.map(3.0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    square.map(["text"])  # pyright: ignore[reportCallIssue, reportArgumentType]
    training(epochs="many")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    step(retries=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def started() -> None:
    """Runs, and looks at what came out."""
    run = training(rows=20, epochs=1)
    model: Any = run.steps["train"].outputs["output"].load()
    print(run.status, run.name, model)
    training.with_options(config_path="config.yaml", enable_cache=False, run_name="nightly-{date}")(rows=3)


typed_step: Step[[list[float]], float] = total
typed_pipeline: Pipeline[[int], list[float]] = features
plain: Callable[[list[float]], float] = total
