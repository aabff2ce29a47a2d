"""Takes a constant from `sys.argv`, and calls its pipeline at the top level."""

import sys

from both_ways import finish

from rayform import pipeline, step

EPOCHS = int(sys.argv[2])


@step
def arguments() -> list:
    return [EPOCHS, sys.argv[1:]]


@pipeline
def training() -> object:
    return arguments()


finish(training)
