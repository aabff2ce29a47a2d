"""What a stack's YAML that someone else wrote may name, and what an import shows before it registers anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rayform import stacks
from rayform.cli.stack.registration import stack
from rayform.stacks import reach
from rayform_core.errors import UsageError
from rayform_runtime.components import FLAVORS, ComponentKind, ComponentSpec, load_object

CATALOG = {"host": "db.example.com", "user": "u", "sslmode": "verify-full"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))


def document(**components: tuple[str, dict[str, Any]]) -> str:
    """Return a stack's YAML with these components, and local ones for the rest."""
    bodies: dict[str, Any] = {
        kind: {"name": "default"} for kind in ("orchestrator", "artifact-store", "catalog")
    }
    for kind, (flavor, config) in components.items():
        kind = kind.replace("_", "-")
        bodies[kind] = {"name": "shared", "flavor": flavor, "config": config}
    return yaml.safe_dump({"rayform_stack": 1, "name": "shared", "components": bodies})


def catalog(**config: object) -> str:
    return document(catalog=("postgres", {**CATALOG, **config}))


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "HOME", "rayform_x", "RAYFORM", "XRAYFORM_P", "RAYFORM_x\n"],
)
def test_a_definition_names_only_variables_that_were_made_for_it(name: str) -> None:
    """Any other variable is refused, with the way to allow it, and nothing is registered."""
    with pytest.raises(UsageError, match="would send the variable") as refused:
        stacks.import_stack(catalog(password_env=name))
    assert f"--allow '{name}'" in str(refused.value)
    assert [record.name for record in stacks.list_stacks()] == ["default"]
    stacks.import_stack(catalog(password_env=name), allow=[name])


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/stripe-AbCdEf",
        "prod/stripe",
        "projects/p/secrets/stripe",
        "projects/p/secrets/rayform-x/../stripe",
        "xrayform/a",
    ],
)
def test_a_definition_names_only_secrets_under_rayforms_prefix(name: str) -> None:
    """The reader's cloud rights don't read another secret for a definition."""
    with pytest.raises(UsageError, match="would read the secret"):
        stacks.import_stack(catalog(password_secret=name))
    stacks.import_stack(catalog(password_secret=name), allow=[name])


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!db-12-AbCdEf",
        "rayform/vision-1a2b3c4d/catalog",
        "projects/p/secrets/rayform-catalog/versions/3",
    ],
)
def test_secrets_of_stacks_are_imported(name: str) -> None:
    """What a deploy registers can be shared as it is."""
    assert stacks.import_stack(catalog(password_secret=name)).name == "shared"


@pytest.mark.parametrize(
    "components",
    [
        {"catalog": ("postgres", {**CATALOG, "sslmode": "disable"})},
        {"catalog": ("postgres", {**CATALOG, "sslmode": "prefer", "tunnel": "ssh://a@b"})},
        {"artifact_store": ("s3", {"bucket": "some-bucket", "endpoint_url": "http://s3.example.com"})},
        {"artifact_store": ("gcs", {"bucket": "some-bucket", "endpoint_url": "https://gcs.example.com"})},
        {"catalog": ("postgres", {**CATALOG, "password_secret": "projects/p/secrets/rayform-x",
                                  "endpoint_url": "https://secrets.example.com"})},
        {"container_registry": ("docker", {"uri": "registry.example.com/x", "insecure": True})},
        {"container_registry": ("ecr", {"uri": "registry.example.com/x"})},
        {"container_registry": ("ecr", {"uri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com/x"})},
        {"container_registry": ("gar", {"uri": "europe-docker.pkg.dev.example.com/p/r"})},
        {"orchestrator": ("ray", {"address": "ssh://u@h", "endpoint_url": "http://ec2.example.com"})},
    ],
)  # fmt: skip
def test_no_login_and_no_data_goes_to_a_host_that_can_read_it(components: dict[str, Any]) -> None:
    """Without TLS only this machine is reached, and a cloud's login goes to that cloud alone."""
    with pytest.raises(UsageError):
        stacks.import_stack(document(**components))
    assert [record.name for record in stacks.list_stacks()] == ["default"]


def test_an_unencrypted_host_can_be_allowed() -> None:
    """A user who trusts a network names the host."""
    text = document(artifact_store=("s3", {"bucket": "some-bucket", "endpoint_url": "http://minio.lan:9000"}))
    stacks.import_stack(text, allow=["minio.lan"])


def test_an_import_shows_what_the_stack_would_use_and_asks(tmp_path: Path) -> None:
    """Hosts, variables, secrets and files are shown; no, and no terminal, register nothing; --yes does."""
    text = document(
        catalog=("postgres", {**CATALOG, "password_env": "RAYFORM_SHARED", "ssh_key": "/home/me/.ssh/id"}),
        artifact_store=("s3", {"bucket": "their-bucket", "region": "eu-west-1\x1b]52;c;x\x07"}),
    )
    file = tmp_path / "shared.yaml"
    file.write_text(text)
    done = CliRunner().invoke(stack, ["import", str(file)])
    said = done.output
    for part in (
        "host      db.example.com",
        "variable  RAYFORM_SHARED",
        "file      /home/me/.ssh/id",
        "their-bucket",
    ):
        assert part in said
    assert "\x1b" not in said
    assert isinstance(done.exception, UsageError) and "no terminal" in str(done.exception)
    assert [record.name for record in stacks.list_stacks()] == ["default"]
    assert CliRunner().invoke(stack, ["import", str(file), "--yes"]).exit_code == 0
    assert [record.name for record in stacks.list_stacks()] == ["default", "shared"]


def texts_of(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if "str" in str(field.annotation)]


def test_every_setting_of_every_flavor_is_shown() -> None:
    """No text of a definition reaches the registry unseen, and each that names a place is known as one."""
    known = {*reach._HOSTS, *reach._FILES, *reach._VARIABLES, *reach._SECRETS}
    inert = {"database", "user", "region", "prefix", "project", "kms_key_id", "instance_id", "stack_reference",
             "sslmode", "require_auth"}  # fmt: skip
    for flavor in FLAVORS:
        for name in texts_of(load_object(flavor.config)):
            assert name in known | inert, f"{flavor.kind} {flavor.name}: decide what '{name}' names"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([flavor for flavor in FLAVORS if flavor.kind is not ComponentKind.ORCHESTRATOR]),
    st.data(),
)
def test_whatever_a_definition_holds_it_is_refused_or_shown(flavor: Any, data: st.DataObject) -> None:
    """For any texts in any settings, what isn't refused is shown whole, and no foreign name is among it."""
    model = load_object(flavor.config)
    values = st.sampled_from(
        ["AWS_SECRET_ACCESS_KEY", "RAYFORM_X", "http://evil.example", "https://evil.example", "127.0.0.1", "disable",
         "prod/stripe", "rayform/x", "evil.example/x", "verify-full", "projects/p/secrets/s"]
    )  # fmt: skip
    config = {name: data.draw(values) for name in texts_of(model) if data.draw(st.booleans())}
    shown: list[reach.Reached] = []
    try:
        stacks.import_stack(
            document(**{str(flavor.kind): (flavor.name, config)}),
            name="s" + str(data.draw(st.uuids(version=4)))[:20],
            confirm=lambda name, reached: shown.extend(reached),
        )
    except UsageError:
        return
    except stacks_conflict():
        pass
    assert {each.setting: each.value for each in shown} == config
    assert config.get("password_env") in (None, "RAYFORM_X")
    assert config.get("password_secret") in (None, "rayform/x")
    assert config.get("endpoint_url") in (None, "https://evil.example", "127.0.0.1")
    ComponentSpec(name="x", kind=flavor.kind, flavor=flavor.name, config=config).validated_config()


def stacks_conflict() -> type[Exception]:
    from rayform_core.errors import ConflictError

    return ConflictError
