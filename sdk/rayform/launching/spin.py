"""Runs that start from an earlier run: one step of it alone, with today's code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rayform.launching.failures import loading
from rayform_core.errors import NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.execution.interface import RunRequest
from rayform_runtime.spec import PipelineSpec
from rayform_runtime.usercode.digest import source_digest
from rayform_runtime.usercode.loading import add_code_root, load_function

if TYPE_CHECKING:
    from rayform.reading.views import RunView
    from rayform_runtime.components import Stack

__all__ = ["spin_step", "with_current_code"]


def with_current_code(spec: PipelineSpec) -> PipelineSpec:
    """Return the spec of an earlier run with the digests of the code as it is now.

    A person resumes a run, or runs a step again, after mending the code. Results of the new code under the
    old code's digest would later be taken from the cache as if the old code had made them.

    Raises:
        NotFoundError: a step's function is gone from its module.
        RayformError: the code's top level raised.
    """
    add_code_root(spec.code_root, spec.import_paths)
    steps = []
    for step in spec.steps:
        if step.source.pickled is None:
            with loading(f"The code of step '{step.key}'"):
                function = load_function(step.source)
            step = step.model_copy(update={"code_digest": source_digest(function)})
        steps.append(step)
    return spec.model_copy(update={"steps": steps})


def spin_step(run: RunView, key: str, stack: Stack, *, debug: bool = False) -> RunView:
    """Run one step of an earlier run again, alone, on the inputs that it had.

    It makes a run of its own, so that nothing of the earlier run changes.

    Args:
        run: the earlier run.
        key: the step's key in the pipeline; of a mapped step all its instances run, of `key[2]` that one.
        stack: the stack that the earlier run was on.
        debug: run it in this process and open pdb where it raises.

    Raises:
        NotFoundError: the run has no such step, or never came to that instance of it.
        UsageError: an instance was asked for of a step that isn't mapped.
        PipelineFailedError: the step failed.
    """
    from rayform.authoring.code_facts import environment_facts, git_facts, user_name
    from rayform.launching.run import execute

    spec = PipelineSpec.model_validate(run.config)
    key, index = _step_and_instance(key, spec, run, stack)
    chosen = spec.model_copy(update={"steps": [spec.step(key)]})
    current = with_current_code(chosen).step(key)
    spec = spec.model_copy(update={"steps": [current if s.key == key else s for s in spec.steps]})
    run_id = new_id()
    request = RunRequest(
        run_id=run_id,
        run_name="-".join([run.name, key, *([] if index is None else [str(index)]), run_id.hex[-6:]]),
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
    """Take `fit` or `fit[2]` apart, as `rayform runs describe` and errors write them."""
    keys = [step.key for step in spec.steps]
    found = re.fullmatch(r"(.+)\[(\d{1,9})\]", name)
    key = found[1] if found and name not in keys else name
    if key not in keys:
        raise NotFoundError("step", name, known=keys, within=f"in run '{run.name}'")
    if found is None or key == name:
        return key, None
    if not spec.step(key).is_mapped:
        raise UsageError(
            f"Step '{key}' isn't mapped, and has no instance {found[2]}.", hint=f"Name it '{key}'."
        )
    indices = [s.map_index for s in stack.catalog.list_step_runs(run.id) if s.key == key]
    if int(found[2]) not in indices:
        known = [f"{key}[{index}]" for index in indices]
        raise NotFoundError("step", name, known=known, within=f"in run '{run.name}'")
    return key, int(found[2])
