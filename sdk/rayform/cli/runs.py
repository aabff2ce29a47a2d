"""`rayform runs`: what ran, how it went, and what to do with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.names import run_names
from rayform.cli.options import confirm, list_options, opened_client, stack_option, yes_option
from rayform.cli.output import (
    DROPPED,
    Column,
    as_json,
    emit_list,
    human_duration,
    human_time,
    json_option,
    metadata_text,
    plain,
    print_pairs,
    print_table,
    styled_status,
)

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform_runtime.catalog.entities import Query, Run, StepRun

__all__ = ["runs"]

_IN_LISTS_LEFT_OUT = ("spec", "stack", "code", "environment", "metadata", "pid", "pid_started")


@click.group(cls=LazyGroup, table={})
def runs() -> None:
    """List, describe, follow, resume, stop and delete pipeline runs."""


_COLUMNS = [
    Column("status", lambda run: run.status.value),
    Column("run", lambda run: run.name, shrink=2),
    Column("pipeline", lambda run: run.pipeline, shrink=DROPPED),
    Column("started", lambda run: human_time(run.started_at or run.created_at, seconds=False), shrink=1),
    Column("took", lambda run: _took(run), right=True),
    Column("stack", lambda run: run.stack_name, shrink=4),
]
_STEP_COLUMNS = [
    Column("status", lambda step: step.status.value),
    Column("step", lambda step: step_title(step), shrink=2),
    Column("took", lambda step: human_duration(step.started_at, step.ended_at), right=True),
    Column("tries", lambda step: _tries(step), right=True),
    Column("outputs", lambda step: ", ".join(step.outputs), shrink=3),
]


def _tries(step: StepRun) -> str:
    never_began = step.status.value in ("pending", "skipped", "cached")
    return "-" if never_began else str(step.attempt)


def _took(run: Run) -> str:
    if run.ended_at is None and run.status.is_finished:
        return "-"
    return human_duration(run.started_at, run.ended_at)


def step_title(step: StepRun) -> str:
    """Return a step run's key, with its place in the list where it is mapped."""
    return step.key if step.map_index is None else f"{step.key}[{step.map_index}]"


@runs.command("list")
@list_options
@stack_option
@json_option
def list_(query: Query, stack: str | None, json_wanted: bool) -> None:
    """List runs, newest first."""
    with opened_client(stack) as client:
        found = client.catalog.list_runs(query)
    emit_list(
        found.items,
        _COLUMNS,
        json_wanted=json_wanted,
        to_plain=_listed,
        total=found.total,
        page=found.page,
        size=found.size,
        empty="No runs.",
    )


def _listed(run: Run) -> object:
    return {key: value for key, value in plain(run).items() if key not in _IN_LISTS_LEFT_OUT}


@runs.command()
@click.argument("run", shell_complete=run_names)
@stack_option
@json_option
def describe(run: str, stack: str | None, json_wanted: bool) -> None:
    """Show a run (by its name, its ID, or the start of either): steps, parameters, errors, metadata."""
    with opened_client(stack) as client:
        found = client.get_pipeline_run(run).record
        steps = client.catalog.list_step_runs(found.id)
    if json_wanted:
        as_json({**plain(found), "steps": plain(steps)})
        return
    print_pairs(
        [
            ("run", found.name),
            ("id", str(found.id)),
            ("status", styled_status(found.status.value)),
            ("pipeline", found.pipeline),
            ("stack", found.stack_name),
            ("started", human_time(found.started_at)),
            ("took", _took(found)),
            ("user", found.user or ""),
            ("tags", ", ".join(found.tags)),
            ("code", metadata_text(found.code)),
            ("parameters", metadata_text(found.parameters)),
            ("metadata", metadata_text(found.metadata)),
            ("error", f"{found.error.type}: {found.error.message}" if found.error else ""),
        ]
    )
    if steps:
        click.echo()
        print_table(steps, _STEP_COLUMNS)
    _show_errors(steps)
    if found.status.value in ("failed", "interrupted", "stopped"):
        click.echo(f"\nGo on where it ended: rayform runs resume {found.name}")


def _show_errors(steps: Sequence[StepRun]) -> None:
    for step in steps:
        if step.error is not None:
            click.echo(f"\n{step_title(step)}: {step.error.type}: {step.error.message}")
            if step.error.traceback:
                click.echo(step.error.traceback.rstrip())


@runs.command()
@click.argument("run", shell_complete=run_names)
@click.argument("step", required=False)
@click.option("-f", "--follow", "follow_", is_flag=True, help="Go on printing until the run ends.")
@stack_option
def logs(run: str, step: str | None, follow_: bool, stack: str | None) -> None:
    """Print the logs of a run's steps, or of one step; after all logs, the tracebacks of steps that failed."""
    with opened_client(stack) as client:
        found = client.get_pipeline_run(run)
        if step is not None and not follow_:
            _ = found.steps[step.partition("[")[0]]  # says which steps there are where there is none
        printer = _LogPrinter(client, step, prefix=step is None)
        while True:
            over = found.status.is_finished
            steps = client.catalog.list_step_runs(found.id)
            printer.print_new(steps)
            if over or not follow_:
                break
            time.sleep(0.5)
            found = found.refresh()
        printer.finish(steps)


class _LogPrinter:
    """Prints what is new in the logs of step runs, each line under its step's name, whole lines only."""

    def __init__(self, client: Client, step: str | None, *, prefix: bool) -> None:
        self.client = client
        self.step = step
        self.prefix = prefix
        self.read: dict[str, int] = {}
        self.rest: dict[str, bytes] = {}

    def print_new(self, steps: Sequence[StepRun]) -> None:
        from rayform_core.errors import NotFoundError
        from rayform_runtime.execution.worker.logs import read_log

        for step in steps:
            title = step_title(step)
            if not self._is_wanted(step) or not step.log_uri:
                continue
            start = self.read.get(title, 0)
            try:
                new = read_log(step.log_uri, self.client.artifact_store, start=start)
            except NotFoundError:
                continue  # nothing was printed yet, or the log is on another machine until the step ends
            self.read[title] = start + len(new)
            *lines, self.rest[title] = (self.rest.get(title, b"") + new).split(b"\n")
            self._print(title, lines)

    def finish(self, steps: Sequence[StepRun]) -> None:
        """Print what didn't end in a line break, and then why steps failed."""
        for title, rest in self.rest.items():
            if rest:
                self._print(title, [rest])
        for step in steps:
            if step.error is not None and self._is_wanted(step):
                why = step.error.traceback or f"{step.error.type}: {step.error.message}"
                self._print(step_title(step), why.rstrip().encode(errors="backslashreplace").split(b"\n"))

    def _is_wanted(self, step: StepRun) -> bool:
        return self.step is None or self.step in (step_title(step), step.key)

    def _print(self, title: str, lines: Sequence[bytes]) -> None:
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            click.echo(f"{title} | {text}" if self.prefix else text)


@runs.command()
@click.argument("run", shell_complete=run_names)
@stack_option
def follow(run: str, stack: str | None) -> None:
    """Print what happens in a run that is at work, until it ends; ends with the run's own exit code."""
    from rayform_core.errors import PipelineFailedError

    with opened_client(stack) as client:
        found = client.get_pipeline_run(run)
        printer = _LogPrinter(client, None, prefix=True)
        seen: dict[str, str] = {}
        while True:
            over = found.status.is_finished
            steps = client.catalog.list_step_runs(found.id)
            printer.print_new(steps)
            for step in steps:
                title, status = step_title(step), step.status.value
                if seen.get(title) != status:
                    seen[title] = status
                    took = f" in {human_duration(step.started_at, step.ended_at)}" if step.ended_at else ""
                    click.echo(f"{title}: {styled_status(status)}{took}")
            if over:
                break
            time.sleep(0.5)
            found = found.refresh()
        printer.finish(steps)
        click.echo(f"Run {found.name}: {styled_status(found.status.value)}")
        if found.status.value != "completed":
            raise PipelineFailedError(
                f"Run '{found.name}' ended {found.status.value}.",
                hint=f"See why: rayform runs describe {found.name}",
            )


@runs.command()
@click.argument("run", shell_complete=run_names)
@click.option("--no-cache", is_flag=True, help="Run every missing step; take none from the cache.")
@stack_option
def resume(run: str, no_cache: bool, stack: str | None) -> None:
    """Go on with a run that failed, was stopped or was killed: only what is missing is run.

    It goes on on the stack that it began on, whichever is active; another one, given with --stack, is refused.
    """
    from rayform.launching.resume import resume_on_own_stack, resume_run

    with opened_client(stack) as client:
        resume = resume_run if stack is not None else resume_on_own_stack
        resume(client, client.get_pipeline_run(run), no_cache=no_cache)


@runs.command()
@click.argument("run", shell_complete=run_names)
@stack_option
def stop(run: str, stack: str | None) -> None:
    """Stop a run that is at work; what its steps finished is kept."""
    from rayform.launching.resume import stop_run

    with opened_client(stack) as client:
        found = client.get_pipeline_run(run)
        if found.status.is_finished:
            click.echo(f"Run {found.name} has ended already: {found.status.value}.")
            return
        stop_run(client, found)
        click.echo(f"Run {found.name} is told to stop.")


@runs.command()
@click.argument("run", shell_complete=run_names)
@yes_option
@stack_option
def delete(run: str, yes: bool, stack: str | None) -> None:
    """Delete a finished run and its step runs; its artifacts stay (see artifact prune)."""
    with opened_client(stack) as client:
        found = client.get_pipeline_run(run)
        confirm(f"Delete run '{found.name}'?", yes=yes)
        client.delete_pipeline_run(found.id)
        click.echo(f"Run {found.name} is deleted.")
