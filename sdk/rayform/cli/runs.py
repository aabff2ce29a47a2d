"""`rayform runs`: list, describe, follow, resume, stop and delete pipeline runs, and print their logs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rayform.cli import LazyGroup
from rayform.cli.names import run_names
from rayform.cli.options import (
    TRUST_HELP,
    PageRequest,
    confirm,
    opened_client,
    page_options,
    stack_option,
    yes_option,
)
from rayform.cli.output import (
    DROPPED,
    Column,
    Json,
    echo,
    human_duration,
    human_time,
    json_option,
    metadata_text,
    plain,
    plain_fields,
    print_json,
    print_pairs,
    print_table,
    styled_status,
)

if TYPE_CHECKING:
    from rayform.reading.client import Client
    from rayform.reading.views import RunView
    from rayform_runtime.catalog.entities import Run, StepRun

__all__ = ["runs"]

_OMITTED_IN_LISTS = ("spec", "stack", "code", "environment", "metadata", "pid", "pid_started")


@click.group(cls=LazyGroup)
def runs() -> None:
    """List, describe, follow, resume, stop and delete pipeline runs."""


_raw_option = click.option(
    "--raw",
    is_flag=True,
    help="Print control characters of logs as they are: your terminal obeys them.",
)
_COLUMNS: list[Column[Run]] = [
    Column("status", lambda run: run.status.value),
    Column("run", lambda run: run.name, shrink=2),
    Column("pipeline", lambda run: run.pipeline, shrink=DROPPED),
    Column("started", lambda run: human_time(run.started_at or run.created_at, seconds=False), shrink=1),
    Column("took", lambda run: _took(run), right=True),
    Column("stack", lambda run: run.stack_name, shrink=4),
]
_STEP_COLUMNS: list[Column[StepRun]] = [
    Column("status", lambda step: step.status.value),
    Column("step", lambda step: step_title(step), shrink=2),
    Column("took", lambda step: human_duration(step.started_at, step.ended_at), right=True),
    Column("tries", lambda step: _tries(step), right=True),
    Column("outputs", lambda step: ", ".join(step.outputs), shrink=3),
]


def _tries(step: StepRun) -> str:
    not_started = step.status.value in ("pending", "skipped", "cached")
    return "-" if not_started else str(step.attempt)


def _took(run: Run) -> str:
    if run.ended_at is None and run.status.is_finished:
        return "-"
    return human_duration(run.started_at, run.ended_at)


def step_title(step: StepRun) -> str:
    """Return a step run's key; for an instance of a mapped step, with its index."""
    return step.key if step.map_index is None else f"{step.key}[{step.map_index}]"


@runs.command("list")
@page_options
def list_(request: PageRequest) -> None:
    """List runs, newest first."""
    request.emit(
        lambda catalog, query: catalog.list_runs(query), _COLUMNS, to_plain=_listed, empty="No runs."
    )


def _listed(run: Run) -> Json:
    return {key: value for key, value in plain_fields(run).items() if key not in _OMITTED_IN_LISTS}


@runs.command()
@click.argument("run", shell_complete=run_names)
@stack_option
@json_option
def describe(run: str, stack: str | None, json_wanted: bool) -> None:
    """Show a run: its steps, parameters, errors and metadata. RUN is its name, its ID, or a prefix of either."""
    with opened_client(stack) as client:
        record = client.get_pipeline_run(run).record
        steps = client.catalog.list_step_runs(record.id)
    if json_wanted:
        print_json({**plain_fields(record), "steps": plain(steps)})
        return
    print_pairs(
        [
            ("run", record.name),
            ("id", str(record.id)),
            ("status", styled_status(record.status.value)),
            ("pipeline", record.pipeline),
            ("stack", record.stack_name),
            ("started", human_time(record.started_at)),
            ("took", _took(record)),
            ("user", record.user or ""),
            ("tags", ", ".join(record.tags)),
            ("code", metadata_text(record.code)),
            ("parameters", metadata_text(record.parameters)),
            ("metadata", metadata_text(record.metadata)),
            ("error", f"{record.error.type}: {record.error.message}" if record.error else ""),
        ]
    )
    if steps:
        echo()
        print_table(steps, _STEP_COLUMNS)
    _show_reasons(steps)
    if record.status.value in ("failed", "interrupted", "stopped"):
        echo(f"\nContinue where it ended: rayform runs resume {record.name}")


def _show_reasons(steps: Sequence[StepRun]) -> None:
    for step in steps:
        if step.status.value == "skipped" and "skipped_because" in step.metadata:
            echo(f"\n{step_title(step)}: skipped, because {step.metadata['skipped_because']}")
        if step.error is not None:
            echo(f"\n{step_title(step)}: {step.error.type}: {step.error.message}")
            if step.error.traceback:
                echo(step.error.traceback.rstrip())


@runs.command()
@click.argument("run", shell_complete=run_names)
@click.argument("step", required=False)
@click.option("-f", "--follow", "follow_", is_flag=True, help="Continue printing until the run ends.")
@_raw_option
@stack_option
def logs(run: str, step: str | None, follow_: bool, raw: bool, stack: str | None) -> None:
    """Print the logs of a run's steps or of one STEP, and then the tracebacks of failed steps.

    Colours are kept; other control characters are written out, such as \\x1b, unless --raw is given.
    """
    with opened_client(stack) as client:
        view = client.get_pipeline_run(run)
        if step is not None and not follow_:
            _ = view.steps[step.partition("[")[0]]  # an unknown step raises an error that names the steps
        printer = _LogPrinter(client, step, prefix=step is None, raw=raw)
        steps: Sequence[StepRun] = ()
        for _, steps in _states(client, view, until_end=follow_):
            printer.print_new(steps)
        printer.finish(steps)


def _states(client: Client, run: RunView, *, until_end: bool) -> Iterator[tuple[RunView, list[StepRun]]]:
    """Yield a run with its step runs: once, or every half second until the run ends."""
    while True:
        yield run, client.catalog.list_step_runs(run.id)
        if run.status.is_finished or not until_end:
            return
        time.sleep(0.5)
        run = run.refresh()


class _LogPrinter:
    """Prints the new lines in the logs of step runs.

    Args:
        client: of the stack that has the logs.
        step: print only the logs of this step, or of this instance of a mapped step.
        prefix: begin each line with the step's name.
        raw: print control characters as they are.
    """

    def __init__(self, client: Client, step: str | None, *, prefix: bool, raw: bool) -> None:
        self.client = client
        self.step = step
        self.prefix = prefix
        self.raw = raw
        # How many bytes of each step's log were read, by the step's title. Grows with each `print_new`.
        self._position: dict[str, int] = {}
        # The last bytes that were read of each log, if they aren't a whole line yet. Replaced by each `print_new`.
        self._rest: dict[str, bytes] = {}

    def print_new(self, steps: Sequence[StepRun]) -> None:
        """Print the lines that were written since the last call."""
        from rayform_core.errors import NotFoundError
        from rayform_runtime.execution.worker.logs import read_log

        for step in steps:
            title = step_title(step)
            if not self._is_selected(step) or not step.log_uri:
                continue
            start = self._position.get(title, 0)
            try:
                new = read_log(step.log_uri, self.client.artifact_store, start=start)
            except NotFoundError:
                continue  # nothing was printed yet, or the log is on another machine until the step ends
            self._position[title] = start + len(new)
            *lines, self._rest[title] = (self._rest.get(title, b"") + new).split(b"\n")
            self._print(title, lines)

    def finish(self, steps: Sequence[StepRun]) -> None:
        """Print last lines without a line break, and then why steps failed."""
        for title, rest in self._rest.items():
            if rest:
                self._print(title, [rest])
        for step in steps:
            if step.error is not None and self._is_selected(step):
                why = step.error.traceback or f"{step.error.type}: {step.error.message}"
                self._print(step_title(step), why.rstrip().encode(errors="backslashreplace").split(b"\n"))

    def _is_selected(self, step: StepRun) -> bool:
        return self.step is None or self.step in (step_title(step), step.key)

    def _print(self, title: str, lines: Sequence[bytes]) -> None:
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            echo(f"{title} | {text}" if self.prefix else text, raw=self.raw)


@runs.command()
@click.argument("run", shell_complete=run_names)
@_raw_option
@stack_option
def follow(run: str, raw: bool, stack: str | None) -> None:
    """Print the steps and logs of a run until it ends; exits with the run's exit code."""
    from rayform_core.errors import PipelineFailedError

    with opened_client(stack) as client:
        view = client.get_pipeline_run(run)
        printer = _LogPrinter(client, None, prefix=True, raw=raw)
        printed: dict[str, str] = {}
        steps: Sequence[StepRun] = ()
        for latest, steps in _states(client, view, until_end=True):
            view = latest
            printer.print_new(steps)
            for step in steps:
                title, status = step_title(step), step.status.value
                if printed.get(title) != status:
                    printed[title] = status
                    took = f" in {human_duration(step.started_at, step.ended_at)}" if step.ended_at else ""
                    echo(f"{title}: {styled_status(status)}{took}")
        printer.finish(steps)
        echo(f"Run {view.name}: {styled_status(view.status.value)}")
        if view.status.value != "completed":
            raise PipelineFailedError(
                f"Run '{view.name}' ended {view.status.value}.",
                hint=f"See why: rayform runs describe {view.name}",
            )


@runs.command()
@click.argument("run", shell_complete=run_names)
@click.option("--no-cache", is_flag=True, help="Run every missing step; take none from the cache.")
@click.option("--trust", is_flag=True, help=TRUST_HELP)
@stack_option
def resume(run: str, no_cache: bool, trust: bool, stack: str | None) -> None:
    """Continue a run that failed, was stopped or was killed; only its missing steps run.

    It continues on the stack that it began on, whichever stack is active. With --stack you can only name that stack.
    """
    from rayform.launching.resume import resume_on_own_stack, resume_run

    with opened_client(stack) as client:
        resume = resume_run if stack is not None else resume_on_own_stack
        resume(client, client.get_pipeline_run(run), no_cache=no_cache, trust=trust)


@runs.command()
@click.argument("run", shell_complete=run_names)
@stack_option
def stop(run: str, stack: str | None) -> None:
    """Stop a run; the results of its finished steps are kept."""
    from rayform.launching.resume import stop_run

    with opened_client(stack) as client:
        view = client.get_pipeline_run(run)
        if view.status.is_finished:
            echo(f"Run {view.name} has already ended: {view.status.value}.")
            return
        stop_run(client, view)
        echo(f"Asked run {view.name} to stop.")


@runs.command()
@click.argument("run", shell_complete=run_names)
@yes_option
@stack_option
def delete(run: str, yes: bool, stack: str | None) -> None:
    """Delete a finished run and its step runs; its artifacts stay (see rayform artifact prune)."""
    with opened_client(stack) as client:
        view = client.get_pipeline_run(run)
        confirm(f"Delete run '{view.name}'?", yes=yes)
        client.delete_pipeline_run(view.id)
        echo(f"Deleted run {view.name}.")
