"""The registry of stacks under many processes, kills, and input of any kind."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayform import stacks
from rayform.stacks import components
from rayform.stacks import files as registry_files
from rayform_core.errors import IntegrityError, RayformError, UsageError

ANY_HOME = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(name=st.text(max_size=70))
@ANY_HOME
def test_any_name_is_safe_or_refused(name: str, rayform_home: Path) -> None:
    """Whatever text names a stack: its file lies in its folder, or the name is refused."""
    try:
        path = registry_files.stack_file("default", name)
    except UsageError:
        return
    assert path.parent == rayform_home / "profiles" / "default" / "stacks"
    assert path.name == f"{name}.yaml"


@given(text=st.text(max_size=200) | PLAIN.map(lambda value: str(yaml.safe_dump(value))))
@ANY_HOME
def test_any_file_is_a_stack_or_a_located_error(text: str, rayform_home: Path) -> None:
    """Whatever a stack's file holds: it is read, or an error names the file and leaves it as it is."""
    path = registry_files.stack_file("default", "any")
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode(errors="surrogatepass")
    path.write_bytes(data)
    try:
        stacks.read_stack("any")
    except IntegrityError as error:
        assert str(path) in str(error)
    assert path.read_bytes() == data
    assert {record.name for record in stacks.list_stacks()} == {"default", "any"}


@given(text=st.text(max_size=200) | PLAIN.map(lambda value: str(yaml.safe_dump(value))))
@ANY_HOME
def test_any_import_registers_or_changes_nothing(text: str, rayform_home: Path) -> None:
    """Whatever is imported: an error of ours, and nothing registered."""
    with pytest.raises(RayformError):
        stacks.import_stack(text)
    assert stacks.stack_names() == ["default"]
    assert len(components.list_components()) == 3


SETTINGS = st.dictionaries(
    st.sampled_from(["prefix", "region", "endpoint_url", "kms_key_id"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).filter(
        lambda t: "://" not in t
    ),
)


@given(config=SETTINGS)
@ANY_HOME
def test_settings_survive_the_file(config: dict[str, Any], rayform_home: Path) -> None:
    """Settings of any text read back as they were written."""
    config = {"bucket": "a-bucket", **config}
    components.write_component(
        components.validated(components.ComponentRecord("any", "artifact-store", "s3", config))
    )
    assert dict(components.read_component("artifact-store", "any").config) == config


def _register_many(start: int) -> None:
    for number in range(start, start + 5):
        stacks.register_stack(f"s{number}")
        stacks.set_active_stack(f"s{number}")


def test_processes_register_at_once(rayform_home: Path) -> None:
    """Eight processes that register and switch at once lose nothing."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        pool.map(_register_many, range(0, 40, 5))
    assert set(stacks.stack_names()) == {"default", *(f"s{n}" for n in range(40))}
    assert stacks.active_stack().name.startswith("s")


CHURN = """
import itertools
from rayform import stacks
for number in itertools.count():
    name = f"s{number % 7}"
    if name in stacks.stack_names():
        stacks.set_active_stack("default")
        stacks.delete_stack(name)
    else:
        stacks.register_deployed(name, {"reference": name, "catalog": {
            "flavor": "sqlite", "config": {"path": "/x/" + "y" * 5000}}}, activate=True)
    if number == 0:
        print("ready", flush=True)
"""


@pytest.mark.fault
def test_kill_at_any_moment_leaves_whole_files(rayform_home: Path) -> None:
    """A process killed while it changes the registry leaves only whole files, and no lock."""
    chance = random.Random(7)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", CHURN], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))
            process.kill()
        assert [s.problem for s in stacks.list_stacks() if s.problem] == []
        assert [c.problem for c in components.list_components() if c.problem] == []
        stacks.active_stack()
        with registry_files.registry_lock():
            pass
