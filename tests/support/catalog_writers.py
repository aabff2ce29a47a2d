"""Many processes that write to one catalog at once: `python catalog_writers.py CONFIG ACTION COUNT`.

Each child opens the catalog by itself. All begin together, and print what they wrote as JSON lines.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from typing import Any

from rayform_core.ids import new_id
from rayform_runtime.catalog.config import PostgresConfig, SQLiteConfig
from rayform_runtime.catalog.entities import (
    NewArtifactVersion,
    NewRun,
    RunStatus,
    StepFinish,
    StepStart,
    StepStatus,
)
from rayform_runtime.catalog.sql.catalog import SQLCatalog


def opened(config: dict[str, Any]) -> SQLCatalog:
    settings = SQLiteConfig(**config) if "path" in config else PostgresConfig(**config)
    return SQLCatalog(settings, stack_name="test")


def version(name: str = "shared") -> NewArtifactVersion:
    id = new_id()
    return NewArtifactVersion(
        id=id, artifact_name=name, uri=f"file:///{id}", type="t", materializer="m", digest="d", size=1
    )


def save_versions(catalog: SQLCatalog, index: int, barrier: Any) -> list[str]:
    """Write one version of the shared artifact."""
    barrier.wait()
    return [catalog.create_artifact_version(version()).version]


def whole_run(catalog: SQLCatalog, index: int, barrier: Any) -> list[str]:
    """Write a run of twenty steps, each with an output of the shared artifact, with heartbeats between them."""
    barrier.wait()
    run = catalog.create_run(
        NewRun(
            id=new_id(),
            name=f"run-{index}",
            pipeline="p",
            spec={},
            stack_name="test",
            stack={},
            pid=os.getpid(),
        )
    )
    numbers = []
    for step in range(20):
        start = StepStart(id=new_id(), run_id=run.id, key=f"s{step}", name="s")
        catalog.start_steps([start])
        finish = StepFinish(id=start.id, run_id=run.id, status=StepStatus.COMPLETED, outputs=[version()])
        numbers.append(catalog.finish_steps([finish])[0][0].version)
        catalog.heartbeat(run.id)
    catalog.finish_run(run.id, RunStatus.COMPLETED)
    return numbers


def endless(catalog: SQLCatalog, index: int, barrier: Any) -> list[str]:
    """Write batches of steps, each with an output, until the process is killed."""
    run = catalog.create_run(
        NewRun(id=new_id(), name=f"endless-{os.getpid()}", pipeline="p", spec={}, stack_name="test", stack={})
    )
    barrier.wait()
    os.write(1, b"working\n")  # at once, where print may mix the lines of several children
    while os.getppid() != 1:  # a test that is killed leaves no process behind
        starts = [StepStart(id=new_id(), run_id=run.id, key="s", name="s", map_index=i) for i in range(5)]
        catalog.start_steps(starts)
        catalog.finish_steps(
            [
                StepFinish(id=s.id, run_id=run.id, status=StepStatus.COMPLETED, outputs=[version()])
                for s in starts
            ]
        )
    return []


ACTIONS = {"versions": save_versions, "runs": whole_run, "endless": endless}


def child(config: dict[str, Any], action: str, index: int, barrier: Any, results: Any) -> None:
    catalog = opened(config)
    try:
        results.put(ACTIONS[action](catalog, index, barrier))
    except BaseException as error:
        results.put(f"{type(error).__name__}: {error}")
    finally:
        catalog.close()


def fork_with_open_catalog(config: dict[str, Any]) -> None:
    """Use a catalog, fork, and use it again in parent and child."""
    catalog = opened(config)
    catalog.create_artifact_version(version())
    pid = os.fork()
    names = [catalog.create_artifact_version(version()).version for _ in range(20)]
    print(json.dumps(names), flush=True)
    if pid == 0:
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    catalog.close()
    raise SystemExit(os.waitstatus_to_exitcode(status))


def main() -> None:
    config, action, count = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if action == "fork":
        fork_with_open_catalog(config)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(count), context.SimpleQueue()
    children = [
        context.Process(target=child, args=(config, action, index, barrier, results))
        for index in range(count)
    ]
    for process in children:
        process.start()
    for _ in children:
        print(json.dumps(results.get()), flush=True)
    for process in children:
        process.join()


if __name__ == "__main__":
    if '"host"' in sys.argv[1]:
        import rayform_runtime.catalog.sql.postgres  # noqa: F401 - once, before the children are forked

    main()
