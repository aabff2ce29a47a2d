"""What a step does to the state of its process, and to variables of its modules, never reaches the next step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import decimal, gc, locale, logging, os, random, resource, signal, socket, sys, warnings
from collections import deque

import numpy as np
import helper
from rayform import pipeline, step

LISTED, COUNT, NESTED, DONE = [], 0, {"a": [1]}, deque()
GENERATOR = np.random.default_rng(1)
FIRST = random.Random(1)


class Options:
    depth = 1
    names = []


OPTIONS = Options()


@step
def look(before: int = 0) -> dict:
    return {
        "pid": os.getpid(),
        "recursion": sys.getrecursionlimit(),
        "disable": logging.root.manager.disable,
        "handlers": len(logging.root.handlers),
        "level": logging.getLogger("some").level,
        "decimal": str(decimal.Decimal(1) / 3),
        "signal": str(signal.getsignal(signal.SIGALRM)),
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "filters": len(warnings.filters),
        "gc": gc.isenabled(),
        "timeout": socket.getdefaulttimeout(),
        "numpy": str(np.geterr()),
        "printing": np.get_printoptions()["precision"],
        "locale": locale.setlocale(locale.LC_ALL),
        "variable": os.environ.get("SPOILED"),
        "path": "/spoiled" in sys.path,
        "argv": sys.argv,
        "hook": sys.excepthook is sys.__excepthook__,
        "modules": [LISTED, COUNT, str(NESTED), len(DONE), Options.depth, Options.names, vars(OPTIONS), helper.SEEN],
        "drawn": [GENERATOR.bit_generator.state["state"]["state"], FIRST.getstate()[1][-1]],
    }


@step
def spoil_process(before: dict) -> int:
    sys.setrecursionlimit(5000)
    logging.disable(50)
    logging.basicConfig(level=10)
    logging.getLogger("some").setLevel(40)
    decimal.getcontext().prec = 3
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.alarm(100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    warnings.simplefilter("error")
    gc.disable()
    socket.setdefaulttimeout(3)
    np.seterr(all="raise")
    np.set_printoptions(precision=2)
    locale.setlocale(locale.LC_ALL, "C")
    os.environ["SPOILED"] = "1"
    sys.path.append("/spoiled")
    sys.argv.append("x")
    sys.excepthook = print
    return os.getpid()


@step
def spoil_modules(before: dict, which: str) -> int:
    global COUNT
    if which == "list":
        LISTED.append(1)
    elif which == "global":
        COUNT += 1
    elif which == "nested":
        NESTED["a"].append(2)
    elif which == "deque":
        DONE.append(1)
    elif which == "class":
        Options.depth = 2
    elif which == "class list":
        Options.names.append("x")
    elif which == "object":
        OPTIONS.added = 1
    elif which == "helper":
        helper.seen("x")
    elif which == "lazy":
        import lazy

        lazy.SEEN.append("x")
    elif which == "numpy":
        GENERATOR.random()
    elif which == "random":
        FIRST.random()
    elif which == "look lazily":
        import lazy

        assert lazy.SEEN == [], lazy.SEEN
    return os.getpid()


@step
def drawn(number: int, seed: bool = False) -> list:
    if seed:
        random.seed(1)
        np.random.seed(1)
    return [random.random(), float(np.random.rand())]


@pipeline
def spoiling(kinds: list[str]) -> object:
    first = look()
    last = look.with_options(id="after_process")(spoil_process(first))
    results = [first, last]
    for number, kind in enumerate(kinds):
        last = look.with_options(id=f"after_{number}")(spoil_modules(last, kind))
        results.append(last)
    return results


@pipeline
def drawing() -> object:
    seeded = drawn(1, seed=True)
    return [seeded, *(drawn(number) for number in range(2, 6))]


if __name__ == "__main__":
    kinds = ["list", "global", "nested", "deque", "class", "class list", "object", "helper"]
    kinds += ["lazy", "look lazily", "numpy", "random"]
    run = spoiling(kinds)
    found = [run.steps[key].outputs[output].load() for key, output in run.config["outputs"]]
    pids = [one.pop("pid") for one in found]
    for kind, one in zip(["before", "process", *kinds], found):
        assert one == found[0], (kind, [(k, found[0][k], v) for k, v in one.items() if v != found[0][k]])
    assert pids[0] == pids[1], "what can be taken back costs no worker"
    numbers = [one for step in drawing().steps.values() for one in step.outputs["output"].load()]
    assert len(set(numbers)) == len(numbers), numbers
    print("clean")
"""
HELPER = "SEEN = []\n\n\ndef seen(one):\n    SEEN.append(one)\n"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_no_step_finds_what_another_did_to_its_process(tmp_path: Path, method: str) -> None:
    """Each kind of state is as at first in the next step; generators draw other numbers in each step."""
    (tmp_path / "warm.py").write_text(SCRIPT)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "lazy.py").write_text(HELPER)
    environment = {**os.environ, "RAYFORM_HOME": str(tmp_path / "home"), "RAYFORM_START_METHOD": method}
    done = subprocess.run(
        [sys.executable, "warm.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stdout.endswith("clean\n"), done.stdout[-3000:] + done.stderr[-3000:]
