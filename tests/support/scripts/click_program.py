"""Is a program of click that a guard starts."""

import click
from both_ways import finish

from rayform import pipeline, step


@step
def doubled(epochs: int) -> int:
    return 2 * epochs


@pipeline
def training(epochs: int) -> object:
    return doubled(epochs)


@click.command()
@click.option("--epochs", type=int)
@click.argument("rest", nargs=-1)
def main(epochs: int, rest: tuple[str, ...]) -> None:
    finish(training, epochs)


main()
