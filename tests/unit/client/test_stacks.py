"""Registered stacks, components and profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayform import stacks
from rayform.stacks import components
from rayform.stacks import files as registry_files
from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, RayformError, UsageError
from rayform_runtime.components import ComponentKind

pytestmark = pytest.mark.usefixtures("rayform_home")


OUTPUTS = {
    "reference": "rf-prod-1",
    "orchestrator": {
        "flavor": "ray",
        "config": {"address": "ssh://ubuntu@203.0.113.7", "region": "eu-west-1"},
    },
    "artifact_store": {"flavor": "s3", "config": {"bucket": "rf-prod-1", "endpoint_url": None}},
    "container_registry": {
        "flavor": "ecr",
        "config": {"uri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/rf-prod"},
    },
    "catalog": {"flavor": "postgres", "config": {"host": "db.example"}},
    "monthly_cost": 12,
}


def test_kinds_are_those_of_the_runtime() -> None:
    """The kinds that files are sorted by are the runtime's kinds of components."""
    assert set(registry_files.KINDS) == {k.value for k in ComponentKind}


def test_default_stack_needs_no_file(rayform_home: Path) -> None:
    """The default stack is active and whole before anything was written."""
    spec = stacks.active_stack()
    assert spec.name == "default"
    assert spec.components[ComponentKind.ARTIFACT_STORE].config == {
        "path": str(rayform_home / "local/artifacts")
    }
    assert spec.components[ComponentKind.CATALOG].config == {"path": str(rayform_home / "local/catalog.db")}
    assert not rayform_home.exists()


def test_register_set_and_read_back() -> None:
    """A registered stack can be made active and reads back as it was given."""
    components.register_component("artifact-store", "s3", flavor="s3", config={"bucket": "abc"}, check=False)
    stacks.register_stack("prod", artifact_store="s3")
    stacks.set_active_stack("prod")
    spec = stacks.active_stack()
    assert spec.name == "prod"
    assert spec.components[ComponentKind.ARTIFACT_STORE].config == {"bucket": "abc"}
    assert stacks.stack_names() == ["default", "prod"]


def test_precedence_of_the_active_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, variable, folder pin, profile: the first that is set wins."""
    for name in ("a", "b", "c", "d"):
        stacks.register_stack(name)
    stacks.set_active_stack("a")
    assert stacks.active_stack_name().name == "a"
    below = tmp_path / "project" / "deep" / "er"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    stacks.set_active_stack("b", here=tmp_path / "project")
    assert stacks.active_stack_name().name == "b"
    monkeypatch.setenv("RAYFORM_STACK", "c")
    assert stacks.active_stack_name().name == "c"
    assert stacks.active_stack("d").name == "d"


def test_pin_is_never_the_registry_itself(rayform_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home folder's `.rayform` is the registry, so the home folder can't be pinned."""
    home = rayform_home.parent / ".rayform"
    monkeypatch.setenv("RAYFORM_HOME", str(home))
    stacks.register_stack("a")
    with pytest.raises(UsageError, match="holds the registered stacks"):
        stacks.set_active_stack("a", here=home.parent)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "-x", "Upper", ".hidden", "a" * 64, "a b", "a\n"])
def test_hostile_names_are_refused(name: str, rayform_home: Path) -> None:
    """A name that could leave its folder is refused before anything is written."""
    with pytest.raises((UsageError, NotFoundError)):
        stacks.register_stack(name)
    with pytest.raises(RayformError):
        components.register_component("catalog", name, flavor="sqlite", config={"path": "/x"}, check=False)
    with pytest.raises(UsageError):
        stacks.create_profile(name)
    assert not list(rayform_home.rglob("*.yaml"))


def test_unknown_stack_names_its_neighbours() -> None:
    """An unknown name is answered with the nearest one."""
    stacks.register_stack("production")
    with pytest.raises(NotFoundError, match="Did you mean 'production'"):
        stacks.get_stack("prodution")


def test_active_stack_that_is_gone_says_who_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing active stack is blamed on the variable that names it."""
    monkeypatch.setenv("RAYFORM_STACK", "gone")
    with pytest.raises(NotFoundError, match=r"\$RAYFORM_STACK sets it as the active stack"):
        stacks.active_stack()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("name: prod\ncomponents: [1\n", ":3:1"),
        ("name: prod\ncomponent: {}\n", ":2:1"),
        ("- a\n", ":1:1"),
        ("name: prod\n  bad: x\n", ":2:6"),
        ("name: 3\n", ":1:1"),
    ],
)
def test_corrupt_file_is_located_and_kept(text: str, place: str, rayform_home: Path) -> None:
    """A corrupt stack file is an error with line and column, other stacks work, and the file stays."""
    stacks.register_stack("prod")
    stacks.register_stack("other")
    path = rayform_home / "profiles/default/stacks/prod.yaml"
    path.write_text(text)
    with pytest.raises(IntegrityError) as caught:
        stacks.get_stack("prod")
    assert f"{path}{place}" in str(caught.value)
    with pytest.raises(IntegrityError):
        stacks.rename_stack("prod", "new")
    with pytest.raises(IntegrityError):
        stacks.update_stack("prod", catalog="default")
    assert path.read_text() == text
    by_name = {s.name: s for s in stacks.list_stacks()}
    assert by_name["prod"].problem
    assert by_name["other"].problem is None


def test_files_are_private(rayform_home: Path) -> None:
    """What is written is readable by its owner alone."""
    stacks.register_stack("a")
    path = rayform_home / "profiles/default/stacks/a.yaml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_guards_of_delete() -> None:
    """The default and the active stack can't be deleted, nor a component in use."""
    components.register_component("catalog", "c1", flavor="sqlite", config={"path": "/x/c.db"}, check=False)
    stacks.register_stack("a", catalog="c1")
    stacks.set_active_stack("a")
    with pytest.raises(UsageError):
        stacks.delete_stack("default")
    with pytest.raises(ConflictError, match="active"):
        stacks.delete_stack("a")
    with pytest.raises(ConflictError, match="default/a"):
        components.delete_component("catalog", "c1")
    with pytest.raises(UsageError, match="built in"):
        components.delete_component("catalog", "default")
    stacks.set_active_stack("default")
    assert stacks.delete_stack("a", with_components=True) == ["catalog/c1"]
    assert components.component_names("catalog") == ["default"]


def test_rename_follows_the_active_stack() -> None:
    """A renamed active stack stays active under its new name."""
    stacks.register_stack("a")
    stacks.set_active_stack("a")
    stacks.rename_stack("a", "b")
    assert stacks.active_stack().name == "b"
    assert stacks.stack_names() == ["default", "b"]


def test_rename_is_refused_while_a_variable_names_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that a variable names isn't renamed from under it."""
    stacks.register_stack("a")
    monkeypatch.setenv("RAYFORM_STACK", "a")
    with pytest.raises(ConflictError, match="RAYFORM_STACK"):
        stacks.rename_stack("a", "b")


def test_export_and_import_round_trip(rayform_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported stack imports elsewhere as the same stack."""
    stacks.register_deployed("prod", OUTPUTS)
    text = stacks.export_stack("prod")
    monkeypatch.setenv("RAYFORM_HOME", str(rayform_home) + "-2")
    stacks.import_stack(text)
    there = stacks.get_stack("prod")
    monkeypatch.setenv("RAYFORM_HOME", str(rayform_home))
    assert stacks.get_stack("prod") == there


def test_import_changes_nothing_where_a_component_differs(rayform_home: Path) -> None:
    """An import that would overwrite a component is refused whole."""
    stacks.register_deployed("prod", OUTPUTS)
    text = stacks.export_stack("prod").replace("rf-prod-1\n", "rf-prod-2\n", 1)
    before = sorted(rayform_home.rglob("*.yaml"))
    with pytest.raises(ConflictError):
        stacks.import_stack(text, name="second")
    assert sorted(rayform_home.rglob("*.yaml")) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x: 1",
        "rayform_stack: 9\nname: a",
        "rayform_stack: 1\nname: ../a\ncomponents: {}",
        "!!python/object:os.x {}",
    ],
)
def test_import_refuses_what_is_no_stack(text: str) -> None:
    """Text that isn't an exported stack is refused with an error."""
    with pytest.raises(RayformError):
        stacks.import_stack(text)
    assert stacks.stack_names() == ["default"]


def test_deployed_stack_registers_itself_and_goes() -> None:
    """Outputs become components and a stack; repeating changes nothing; unregistering leaves nothing."""
    for _ in range(2):
        record = stacks.register_deployed("prod", OUTPUTS, activate=True)
    assert record.reference == "rf-prod-1"
    spec = stacks.active_stack()
    assert {k.value: c.flavor for k, c in spec.components.items()} == {
        "orchestrator": "ray",
        "artifact-store": "s3",
        "container-registry": "ecr",
        "catalog": "postgres",
    }
    with pytest.raises(ConflictError):
        stacks.register_deployed("prod", {**OUTPUTS, "reference": "rf-prod-2"})
    assert stacks.unregister_deployed("rf-prod-1") == ["default/prod"]
    assert stacks.unregister_deployed("rf-prod-1") == []
    assert stacks.active_stack().name == "default"
    assert [c.name for c in components.list_components()] == ["default"] * 3


def test_settings_are_validated_and_hold_no_password() -> None:
    """Unknown settings and passwords in URLs are refused."""
    with pytest.raises(UsageError, match="buket"):
        components.register_component("artifact-store", "s", flavor="s3", config={"buket": "x"}, check=False)
    with pytest.raises(UsageError, match="password"):
        components.register_component(
            "artifact-store",
            "s",
            flavor="s3",
            config={"bucket": "abc", "endpoint_url": "http://u:p@h"},
            check=False,
        )
    with pytest.raises(NotFoundError, match="s3"):
        components.register_component("artifact-store", "s", flavor="s33", check=False)


def test_update_component_keeps_what_isnt_named() -> None:
    """An update changes the named settings alone, and `None` removes one."""
    components.register_component(
        "artifact-store", "s", flavor="s3", config={"bucket": "abc", "region": "r"}, check=False
    )
    components.update_component("artifact-store", "s", {"region": None, "prefix": "p"}, check=False)
    assert components.read_component("artifact-store", "s").config == {"bucket": "abc", "prefix": "p"}


def test_profiles_have_their_own_stacks_and_active_stack() -> None:
    """Each profile has its own stacks and its own active one; a profile with stacks isn't deleted."""
    stacks.register_stack("a")
    stacks.set_active_stack("a")
    stacks.create_profile("work")
    stacks.set_active_profile("work")
    assert stacks.active_stack().name == "default"
    stacks.register_stack("w")
    with pytest.raises(ConflictError, match="active"):
        stacks.delete_profile("work")
    stacks.set_active_profile("default")
    assert stacks.active_stack().name == "a"
    with pytest.raises(ConflictError, match="stacks"):
        stacks.delete_profile("work")
    with pytest.raises(NotFoundError):
        stacks.set_active_profile("wrok")


def test_a_profile_keeps_its_target_whatever_else_changes() -> None:
    """The target that a profile sets survives switching stacks, belongs to that profile alone, and can be unset."""
    assert stacks.profile_target() is None
    stacks.set_profile_target("localstack")
    stacks.register_stack("other")
    stacks.set_active_stack("other")
    assert stacks.profile_target() == "localstack"
    assert stacks.active_stack_name().name == "other"
    stacks.create_profile("prod")
    assert stacks.profile_target("prod") is None
    stacks.set_profile_target(None)
    assert stacks.profile_target() is None
    assert stacks.active_stack_name().name == "other"


def test_requirements_name_the_extras() -> None:
    """The requirements of a stack are Rayform with the extras of its flavors."""
    stacks.register_deployed("prod", OUTPUTS)
    (line,) = stacks.export_requirements("prod")
    assert line.startswith("rayform[aws,postgres,ray,s3]==")
