"""Spin: run one step of an earlier run again, alone, with the code as it is now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rayform.launching.failures import loading
from rayform.launching.run_names import new_spin_name
from rayform_core.errors import NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.execution.interface import RunRequest
from rayform_runtime.spec import PipelineSpec
from rayform_runtime.usercode.digest import source_digest
from rayform_runtime.usercode.loading import add_code_root, load_function
from rayform_runtime.usercode.program import Program, as_program

if TYPE_CHECKING:
    from rayform.reading.views import RunView
    from rayform_runtime.components import Stack

__all__ = ["spin_step", "with_current_code"]


def with_current_code(spec: PipelineSpec) -> PipelineSpec:
    """Return the spec of an earlier run with the digests of the code as it is now.

    Users fix their code and then resume a run or spin a step. Results of the new code must not be stored under the old
    code's digest, or the cache would later return them as results of the old code.

    Args:
        spec: the earlier run's pipeline.

    Raises:
        NotFoundError: a step's function is gone from its module.
        RayformError: the code's top level raised.
    """
    add_code_root(spec.code_root, spec.import_paths)
    steps = []
    program = Program.of(spec.program)
    for step in spec.steps:
        if step.source.pickled is None:
            with loading(f"The code of step '{step.key}'"), as_program(program):
                function = load_function(step.source)
            step = step.model_copy(update={"code_digest": source_digest(function)})
        steps.append(step)
    return spec.model_copy(update={"steps": steps})


def spin_step(run: RunView, key: str, stack: Stack, *, debug: bool = False, trust: bool = False) -> RunView:
    """Run one step of an earlier run again, alone, on the inputs that it had.

    This makes a new run; the earlier run stays as it is.

    Args:
        run: the earlier run.
        key: the step's key in the pipeline. For a mapped step, `key` runs all instances and `key[2]` only that one.
        stack: the stack that the earlier run was on.
        debug: run the step in this process and open pdb where it raises; by default it runs in a worker.
        trust: run the code of a run that wasn't begun on this machine.

    Returns:
        the new run.

    Raises:
        NotFoundError: the run has no such step, or never started that instance of it.
        UsageError: `key` names an instance, and the step isn't mapped.
        UntrustedRunError: the run wasn't begun on this machine, and isn't trusted.
        PipelineFailedError: the step failed.
    """
    from rayform.authoring.code_facts import environment_facts, git_facts, user_name
    from rayform.launching.execution import execute
    from rayform.launching.run_consent import refuse_untrusted

    spec = PipelineSpec.model_validate(run.config)
    key, index = _step_and_instance(key, spec, run, stack)
    # A user who names a step wants it to run, whatever its conditions say.
    refuse_untrusted(run, spec, is_trusted=trust or stack.spec.is_trusted, step=key)
    chosen = spec.model_copy(update={"steps": [spec.step(key).model_copy(update={"conditions": []})]})
    current = with_current_code(chosen).step(key)
    spec = spec.model_copy(update={"steps": [current if s.key == key else s for s in spec.steps]})
    spec = spec.model_copy(update={"is_dynamic": False})  # the step runs alone, without the body
    run_id = new_id()
    request = RunRequest(
        run_id=run_id,
        run_name=new_spin_name(run.name, key, index, run_id),
        spec=spec,
        no_cache=True,
        only=[key],
        only_index=index,
        inputs_from=run.id,
        debug=debug,
        code=git_facts(Path(spec.code_root or ".")),
        environment=environment_facts(),
        user=user_name(),
    )
    return execute(request, stack)


def _step_and_instance(name: str, spec: PipelineSpec, run: RunView, stack: Stack) -> tuple[str, int | None]:
    """Split `fit[2]` into step key and instance, as `rayform runs describe` and errors write them."""
    keys = [step.key for step in spec.steps]
    parts = re.fullmatch(r"(.+)\[(\d{1,9})\]", name)
    key = parts[1] if parts and name not in keys else name
    if key not in keys:
        raise NotFoundError("step", name, known=keys, within=f"in run '{run.name}'")
    if parts is None or key == name:
        return key, None
    if not spec.step(key).is_mapped:
        raise UsageError(
            f"Step '{key}' isn't mapped, so it has no instance {parts[2]}.", hint=f"Write '{key}'."
        )
    indices = [s.map_index for s in stack.catalog.list_step_runs(run.id) if s.key == key]
    if int(parts[2]) not in indices:
        instances = [f"{key}[{index}]" for index in indices]
        raise NotFoundError("step", name, known=instances, within=f"in run '{run.name}'")
    return key, int(parts[2])
