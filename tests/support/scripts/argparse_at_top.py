"""Reads its command line at the top level, as a script without a main function does."""

import argparse

from both_ways import finish

from rayform import pipeline, step

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("rest", nargs="*")
options = parser.parse_args()


@step
def epochs() -> tuple[int, list]:
    return options.epochs, options.rest


@pipeline
def training() -> object:
    return epochs()


if __name__ == "__main__":
    finish(training)
