"""What a worker gets of a step: the spec's facts, in plain types, wherever the code lies."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from rayform_runtime.execution.interface import CodeFacts, OutputFacts, StepFacts, StepResources
from rayform_runtime.spec import ArtifactType, OutputSpec, Resources, SourceRef, StepSpec
from rayform_runtime.usercode.code_ref import CodeRef

SPEC = StepSpec(
    key="train_2",
    name="train",
    source=SourceRef(module="steps", qualname="train", file="/home/me/project/src/steps.py"),
    outputs=[
        OutputSpec(
            name="model",
            artifact_name="p::train::model",
            type=SourceRef(module="numpy", qualname="ndarray", file="/usr/lib/numpy/__init__.py"),
            artifact_type=ArtifactType.MODEL,
            tags=["good"],
            run_metadata={"rows": 7},
        )
    ],
    on_failure=SourceRef(module="hooks", qualname="warn", file="/home/me/project/hooks.py"),
    resources=Resources(cpus=2, custom={"disk": 1}),
    timeout=60,
    environment={"A": "b"},
)


def test_facts_of_a_step_are_those_of_its_spec() -> None:
    """Options that are left out have the spec's defaults, and text is plain text."""
    facts = StepFacts.of(SPEC)
    assert (facts.key, facts.name, facts.timeout, facts.environment) == ("train_2", "train", 60, {"A": "b"})
    assert str(facts.source) == str(SPEC.source) == "steps:train"
    assert facts.resources == StepResources(2, 0, None, None, {"disk": 1})
    assert facts.hooks.on_success is None
    assert facts.outputs[0].tags == ["good"] and facts.outputs[0].run_metadata == {"rows": 7}
    assert type(facts.outputs[0].artifact_type) is str
    minimal = StepSpec(
        key="s", name="s", source=SPEC.source, outputs=[OutputSpec(name="o", artifact_name="a")]
    )
    assert StepFacts.of(minimal) == StepFacts("s", "s", facts.source, (OutputFacts("o", "a", tags=[]),))


def test_a_worker_reads_facts_without_the_specs() -> None:
    """Unpickling them imports neither the spec's module nor pydantic."""
    program = (
        "import pickle, sys\n"
        "facts = pickle.loads(sys.stdin.buffer.read())\n"
        "assert facts.outputs[0].artifact_type == 'model'\n"
        "sys.exit('pydantic' in sys.modules or 'rayform_runtime.spec' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], input=pickle.dumps(StepFacts.of(SPEC)), check=True)


def test_code_moves_with_the_project() -> None:
    """Files of the project are named below the new root; a file elsewhere is left out, to be imported by name."""
    moved = StepFacts.of(SPEC).moved("/home/me/project", Path("/tmp/code/abc"))
    assert moved.source.file == "/tmp/code/abc/src/steps.py"
    assert moved.hooks.on_failure == CodeRef("hooks", "warn", "/tmp/code/abc/hooks.py")
    assert moved.outputs[0].type == CodeRef("numpy", "ndarray")
    notebook = CodeRef("__main__", "train", pickled="abc")
    assert notebook.moved("/home/me/project", Path("/tmp")) == notebook


def test_facts_about_the_code_are_recorded_by_name() -> None:
    """What git doesn't say isn't recorded; that the tree is clean is."""
    assert CodeFacts().as_record() == {}
    assert CodeFacts(git_dirty=False, git_commit="abc").as_record() == {
        "git_dirty": False,
        "git_commit": "abc",
    }
