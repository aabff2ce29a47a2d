"""A first pipeline. Run it twice with `python run.py` to see the cache. Or: `rayform run run.py -p name=you`."""

from typing import Annotated

from rayform import pipeline, step


@step
def greet(name: str) -> Annotated[str, "greeting"]:
    """Return a greeting. The return value of a step is saved as an artifact, here with the name "greeting"."""
    return f"Hello, {name}!"


@step
def shout(greeting: str) -> Annotated[str, "shouted"]:
    """Return a greeting in capital letters. Its argument is the output of another step."""
    return greeting.upper()


@pipeline
def hello(name: str = "world") -> None:
    """Pass the output of one step to the next."""
    shout(greet(name))


if __name__ == "__main__":
    run = hello()
    print(run.steps["shout"].outputs["shouted"].load())
