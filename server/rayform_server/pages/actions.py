"""What the dashboard changes: stop, resume, repeat and delete runs, promote models. Each is a form with a token."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from rayform.launching.resume import stop_run
from rayform_core.errors import ConflictError, UsageError
from rayform_core.files import home, private_folder
from rayform_runtime.processes.identity import this_host
from rayform_server import context
from rayform_server.security import checked_form

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform.reading.views import RunView
    from rayform_runtime.catalog.entities import Run

__all__ = ["model", "repeat_arguments", "run", "runs"]

Form: TypeAlias = ImmutableMultiDict[str, str]
_STOP_SECONDS = 2.0


async def run(request: Request) -> Response:
    """Stop, resume, repeat or delete a run."""
    form = await checked_form(request)
    return await run_in_threadpool(_run, request, form)


def _run(request: Request, form: Form) -> Response:
    client, place = context.client_of(request), context.place_of(request)
    view = client.get_pipeline_run(form.get("run", ""))
    action = form.get("action", "")
    if action == "delete":
        client.delete_pipeline_run(view.id)
        return _back(place.link("/runs", message=f"Deleted run {view.name}."))
    if action == "stop":
        _stop(client, [view])
        message = f"Asked run {view.name} to stop."
    elif action == "resume":
        if view.status.value == "completed" or not view.status.is_finished:
            raise ConflictError(f"Run '{view.name}' can't be resumed.", why=f"It is {view.status.value}.")
        _start(["runs", "resume", str(view.id)])
        message = f"Run {view.name} continues in the background."
    elif action == "repeat":
        _repeat(view.record)
        message = f"Pipeline {view.pipeline_name} runs again in the background."
    else:
        raise UsageError(f"'{action[:50]}' isn't an action of a run.")
    return _back(place.run(view.record, message=message))


def _stop(client: Client, views: Sequence[RunView]) -> None:
    """Ask runs to stop. A run may take a while for it; an error that comes later is not shown."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="stop")
    stopping = [pool.submit(stop_run, client, view) for view in views]
    pool.shutdown(wait=False)
    done, _ = wait(stopping, timeout=_STOP_SECONDS)
    for each in done:
        each.result()


def repeat_arguments(run: Run) -> list[str] | None:
    """Return the command that runs a pipeline again with the same parameters; `None` if this machine can't.

    Only a run of this machine is repeated: the file that it names is one of this machine's.
    """
    source, root = run.spec.get("source"), run.spec.get("code_root")
    if run.host != this_host() or not isinstance(source, Mapping) or not isinstance(source.get("file"), str):
        return None
    file = Path(source["file"])
    if not file.is_file() or not str(source.get("qualname", "")).isidentifier():
        return None
    base = Path(root) if isinstance(root, str) else file.parent
    target = file.relative_to(base) if file.is_relative_to(base) else file
    arguments = ["run", f"{target}:{source['qualname']}", "--stack", run.stack_name]
    for name, value in run.parameters.items():
        arguments += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return arguments


def _repeat(run: Run) -> None:
    arguments = repeat_arguments(run)
    if arguments is None:
        raise ConflictError(
            f"Run '{run.name}' can't be repeated from here.",
            why="Its pipeline's file isn't on this machine.",
            hint="Run the pipeline where its code is.",
        )
    root = run.spec.get("code_root")
    _start(arguments, folder=root if isinstance(root, str) and Path(root).is_dir() else None)


def _start(arguments: list[str], *, folder: str | None = None) -> None:
    """Run a command of Rayform in the background; what it prints goes to the dashboard's folder."""
    log = private_folder(home() / "dashboard") / "commands.log"
    with log.open("ab") as output:
        log.chmod(0o600)
        process = subprocess.Popen(
            [sys.executable, "-m", "rayform.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # reaps it


async def runs(request: Request) -> Response:
    """Compare, stop or delete the runs that are marked in the list."""
    form = await checked_form(request)
    return await run_in_threadpool(_runs, request, form)


def _runs(request: Request, form: Form) -> Response:
    client, place = context.client_of(request), context.place_of(request)
    refs, action = form.getlist("run")[:500], form.get("action", "")
    if not refs:
        raise UsageError("No run is marked.", hint="Mark runs in the list first.")
    if action == "compare":
        return _back(place.link("/compare/runs", run=refs[:20]))
    views = [client.get_pipeline_run(ref) for ref in refs]
    if action == "stop":
        _stop(client, views)
        message = f"Asked {len(views)} runs to stop."
    elif action == "delete":
        for view in views:
            client.delete_pipeline_run(view.id)
        message = f"Deleted {len(views)} runs."
    else:
        raise UsageError(f"'{action[:50]}' isn't an action of runs.")
    return _back(place.link("/runs", message=message))


async def model(request: Request) -> Response:
    """Move a model version to a stage."""
    form = await checked_form(request)
    return await run_in_threadpool(_model, request, form)


def _model(request: Request, form: Form) -> Response:
    client, place = context.client_of(request), context.place_of(request)
    version = client.get_model_version(form.get("model", ""), form.get("version", ""))
    stage = form.get("stage", "")
    client.set_model_stage(version, stage, force=form.get("force") == "yes")
    message = f"Version {version.version} is now in stage {stage}."
    return _back(place.link("/model", name=version.record.name, message=message))


def _back(address: str) -> Response:
    return RedirectResponse(address, status_code=303)
