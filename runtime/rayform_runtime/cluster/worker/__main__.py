"""`python -m rayform_runtime.cluster.worker start`: the same as `… cluster.head worker start`."""

from __future__ import annotations

import sys

from rayform_runtime.cluster.head.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["worker", *sys.argv[1:]]))
