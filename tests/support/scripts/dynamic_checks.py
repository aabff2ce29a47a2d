"""Runs dynamic pipelines of `support.dynamic_pipelines` on the active stack."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from support import dynamic_pipelines as pipes

if __name__ == "__main__":
    for run in (pipes.control_flow(), pipes.fan_out(), pipes.handled()):
        print(run.status.value, len(run.step_runs))
