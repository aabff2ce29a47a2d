"""Starts itself again as a program, with another argument."""

import subprocess
import sys

from both_ways import finish

from rayform import pipeline, step

if sys.argv[-1] == "child":
    print("child of", len(sys.argv))
    sys.exit(3)


@step
def children() -> list:
    done = subprocess.run([sys.executable, __file__, "child"], capture_output=True, text=True, check=False)
    return [done.returncode, done.stdout]


@pipeline
def starting() -> object:
    return children()


if __name__ == "__main__":
    finish(starting)
