"""A first pipeline. Run it with `python run.py`, again to see the cache, or with `rayform run run.py -p name=you`."""

from typing import Annotated

from rayform import pipeline, step


@step
def greet(name: str) -> Annotated[str, "greeting"]:
    """What a step returns is saved as an artifact: here one named "greeting"."""
    return f"Hello, {name}!"


@step
def shout(greeting: str) -> Annotated[str, "shouted"]:
    """A step that takes another step's output."""
    return greeting.upper()


@pipeline
def hello(name: str = "world") -> None:
    """Wires the steps."""
    shout(greet(name))


if __name__ == "__main__":
    run = hello()
    print(run.steps["shout"].outputs["shouted"].load())
