"""Does what Ray's own `setup_worker.py` does before a worker runs, without importing Ray.

A raylet starts this once per worker that has a runtime environment: `python setup_worker.py WORKER ARGUMENTS...
--language=PYTHON --serialized-runtime-env-context={...}`. Ray's own set-up imports all of Ray, some 0.4 s of CPU, only
to set variables and start the worker's command in a shell. A worker of a step image forks from a server that has
imported everything (`stand_in`), so those imports were most of the cost of its start.

Every other worker (with Ray's `pip` or `working_dir`, or in another language) gets Ray's own set-up.
"""

# pathlib takes longer to import than all the rest of this.
# ruff: noqa: PTH100, PTH118, PTH120

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CONTEXT = "--serialized-runtime-env-context"
LANGUAGE = "--language"
HERE = os.path.dirname(os.path.abspath(__file__))
STAND_IN = [sys.executable, "-I", "-S", "-E", os.path.join(HERE, "stand_in.py")]
OURS = {STAND_IN[-1], os.path.join(HERE, "step_container.sh")}
"""The programs that `StepImagePlugin` puts in Python's place."""


def main(arguments: list[str]) -> NoReturn:
    """Start one worker in its environment; never returns."""
    if (worker := worker_of_a_step_image(arguments)) is not None:
        variables, command = worker
        os.environ.update(variables)
        if command[: len(STAND_IN)] == STAND_IN:
            # In this process: another Python would take as long to start as the rest of its work.
            from rayform_runtime.cluster.step_workers import stand_in

            stand_in.main(command[len(STAND_IN)], command[len(STAND_IN) + 1 :])
        os.execvp(command[0], command)  # noqa: S606 - a list of words, no shell string
    import runpy

    sys.argv[1:] = arguments
    runpy.run_module("ray._private.workers.setup_worker", run_name="__main__")
    sys.exit("Ray's own setup_worker returned without starting a worker")


def worker_of_a_step_image(arguments: list[str]) -> tuple[dict[str, str], list[str]] | None:
    """Return the variables and the command of a worker of a step image, or None for any other worker.

    Values stay as they are. Ray would replace `$NAME` in them, which the image's author didn't ask for.
    """
    options, rest = split(arguments)
    if options.get(LANGUAGE) != "PYTHON" or CONTEXT not in options or not rest:
        return None
    import json

    context = json.loads(options[CONTEXT])
    command = words(context.get("py_executable") or "")
    if context.get("command_prefix") or OURS.isdisjoint(command):
        return None
    entrypoint = context.get("override_worker_entrypoint") or rest[0]
    return context.get("env_vars") or {}, [*command, entrypoint, *rest[1:]]


def words(command: str) -> list[str]:
    """Split a command as a shell does."""
    if not any(mark in command for mark in "'\"\\#\n\t"):
        return command.split()
    import shlex  # it imports `re`, which takes longer than all the rest

    return shlex.split(command)


def split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split the set-up's own two options from the worker's command.

    Returns:
        the options by name, and all other arguments in order.

    Example:
        >>> split(["default_worker.py", "--language=PYTHON", "--node-id=1"])
        ({'--language': 'PYTHON'}, ['default_worker.py', '--node-id=1'])
    """
    options, rest = {}, []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in (CONTEXT, LANGUAGE):
            options[name] = value
        else:
            rest.append(argument)
    return options, rest


if __name__ == "__main__":
    main(sys.argv[1:])
