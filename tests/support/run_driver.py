"""Runs a pipeline in a process of its own, for tests that kill it: `run_driver.py FOLDER RUN_ID [resume]`."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.engine import Engine, each, out, value

from rayform_runtime.catalog.entities import RunStatus
from rayform_runtime.spec import PipelineSpec

WIDTH = 4


def marked_pipeline(engine: Engine, *, seconds: float = 0.03) -> PipelineSpec:
    """Return a chain, a map and a join, whose steps write one file each time that they run."""
    folder = value(str(engine.folder / "marks"))
    chain = [engine.step("s0", "marked", {"folder": folder, "name": value("s0"), "seconds": value(seconds)})]
    for i in range(1, 4):
        inputs = {
            "folder": folder,
            "name": value(f"s{i}"),
            "x": out(f"s{i - 1}"),
            "seconds": value(seconds),
        }
        chain.append(engine.step(f"s{i}", "marked", inputs))
    mapped = {"folder": folder, "name": value("m"), "x": each("list"), "seconds": value(seconds)}
    return engine.pipeline(
        *chain,
        engine.step("list", "numbers", {"count": value(WIDTH)}),
        engine.step("m", "marked", mapped),
        engine.step("sum", "total", {"values": out("m")}),
        engine.step("end", "add", {"x": out("sum"), "y": out("s3")}),
        enable_cache=False,
    )


EXPECTED = sum(i + 1 for i in range(WIDTH)) + 4

MARKED = """
def marked(folder: str, name: str, x: int = 0, seconds: float = 0.0) -> int:
    import uuid
    (Path(folder) / f"{name}.{x}.{uuid.uuid4()}").touch()
    time.sleep(seconds)
    return x + 1
"""


def prepare(folder: Path) -> Engine:
    engine = Engine.at(folder)
    (folder / "marks").mkdir(exist_ok=True)
    module = folder / "project" / f"{engine.module}.py"
    if "def marked" not in module.read_text():
        module.write_text(module.read_text() + MARKED)
    return engine


def main() -> int:
    folder, run_id = Path(sys.argv[1]), UUID(sys.argv[2])
    engine = prepare(folder)
    print("ready", flush=True)
    try:
        outcome = engine.run(
            marked_pipeline(engine, seconds=float(sys.argv[4]) if len(sys.argv) > 4 else 0.03),
            run_id=run_id,
            resume=sys.argv[3:4] == ["resume"],
            listener=lambda event: print(event.kind, event.step_key, event.step_status, flush=True),
        )
    except KeyboardInterrupt:
        return 130
    finally:
        engine.stack.close()
    for name, error in outcome.errors.items():
        print(name, error.type, error.message, error.traceback, file=sys.stderr)
    return 0 if outcome.status is RunStatus.COMPLETED else 1


if __name__ == "__main__":
    sys.exit(main())
