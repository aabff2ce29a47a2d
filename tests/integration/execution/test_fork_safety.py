"""Forking workers from a process that has imported the user's code, and when that isn't safe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import Engine, out, value

from rayform_runtime.catalog.entities import RunStatus


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    built = Engine.at(tmp_path, cpus=4)
    yield built
    built.stack.close()


def prepend(engine: Engine, text: str) -> None:
    module = engine.folder / "project" / f"{engine.module}.py"
    module.write_text(text + module.read_text())


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        ("import polars", "polars.DataFrame({'a': list(range(n))}).select(polars.col('a').sum()).item()"),
        ("import numpy", "float((numpy.ones((300, 300)) @ numpy.ones((300, 300)))[0, 0])"),
        (
            "import torch; torch.ones(600, 600) @ torch.ones(600, 600)",
            "float((torch.ones(600, 600) @ torch.ones(600, 600))[0, 0])",
        ),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "float(n)",
        ),
    ],
    ids=["polars", "numpy", "torch used at import", "python thread"],
)
@pytest.mark.slow
def test_libraries_with_threads_work_in_workers(engine: Engine, imports: str, body: str) -> None:
    """Code that uses a library with its own threads runs in several workers at once, and none hangs."""
    prepend(engine, f"{imports}\ndef compute(n: int) -> float:\n    return {body}\n")
    steps = [engine.step(f"s{i}", "compute", {"n": value(100)}, timeout=60.0) for i in range(4)]
    outcome = engine.run(engine.pipeline(*steps))
    assert outcome.status is RunStatus.COMPLETED, outcome.errors


def test_code_is_imported_once_for_all_workers(engine: Engine) -> None:
    """A run executes the top level of the project once, however many workers there are."""
    mark = engine.folder / "imports"
    prepend(engine, f"open({str(mark)!r}, 'a').write('x')\nprint('imported')\n")
    steps = [engine.step(f"s{i}", "sleep", {"seconds": value(0.2)}) for i in range(4)]
    outcome = engine.run(engine.pipeline(*steps))
    assert outcome.status is RunStatus.COMPLETED
    assert mark.read_text() == "x"
    assert any(e.kind == "log" and "imported" in e.text for e in engine.events)


def test_import_that_fails_is_the_steps_error(engine: Engine) -> None:
    """If the project's top level raises, the step fails with the user's traceback."""
    prepend(engine, "raise RuntimeError('at import')\n")
    outcome = engine.run(
        engine.pipeline(engine.step("s", "constant"), engine.step("t", "add", {"x": out("s")}))
    )
    assert outcome.errors["s"].message == "at import"
    assert engine.statuses(outcome.run_id)["t"] == "skipped"


def test_new_code_counts_in_the_next_run_of_one_process(engine: Engine) -> None:
    """The second of two runs of one process (a notebook) sees an edit made between them."""
    spec = engine.pipeline(engine.step("s", "answer", enable_cache=False))
    prepend(engine, "def answer() -> int:\n    return 41\n")
    assert engine.value_of(engine.run(spec).run_id, "s") == 41
    module = engine.folder / "project" / f"{engine.module}.py"
    module.write_text(module.read_text().replace("41", "42 + 0"))
    assert engine.value_of(engine.run(spec).run_id, "s") == 42


def test_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    """`python script.py` with a pipeline call at its top level starts one run, and leaves no process."""
    script = tmp_path / "script.py"
    script.write_text(
        "from rayform import pipeline, step\n"
        "print('top level')\n"
        "@step\ndef one() -> int:\n    return 1\n"
        "@step\ndef two(x: int) -> int:\n    return x + 1\n"
        "@pipeline\ndef flow() -> None:\n    two(one())\n"
        "flow()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "RAYFORM_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("completed in") == 3
    listed = subprocess.run(["pgrep", "-f", str(script)], capture_output=True, text=True, check=False)
    assert listed.stdout == ""
