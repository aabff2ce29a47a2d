"""ZenML's names below `rayform.zenml`: each is Rayform's own object, or is refused with what to do instead."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

import rayform
from rayform.zenml.paths import EXPORTS, INTEGRATION_OBJECTS, lookup
from rayform.zenml.refusals import INTEGRATIONS, REFUSED, refused
from rayform_core.errors import UsageError

NAMES = sorted((module, name) for module, names in EXPORTS.items() for name in names)


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{module}:{name}" for module, name in NAMES])
def test_every_name_in_the_table_exists(module: str, name: str) -> None:
    """Each row of the table leads to an object, and the module that it stands in can be imported."""
    imported = importlib.import_module(f"rayform.zenml.{module}".rstrip("."))
    if name == "*":
        assert dir(imported)
        return
    assert getattr(imported, name) is lookup(module, name)


@pytest.mark.parametrize(
    "name", ["step", "pipeline", "Model", "ArtifactConfig", "Client", "save_artifact", "log_metadata", "Tag"]
)
def test_what_rayform_has_is_the_same_object(name: str) -> None:
    """A name that both have is one object, so that code of both kinds works together."""
    assert getattr(importlib.import_module("rayform.zenml"), name) is getattr(rayform, name)


@pytest.mark.parametrize(
    ("module", "name"), [("", "stepp"), ("client", "Klient"), ("enums", "_private"), ("steps", "__wrong__")]
)
def test_a_name_that_zenml_lacks_is_no_import(module: str, name: str) -> None:
    """A misspelt name is an ImportError, as in any package."""
    with pytest.raises(ImportError, match="cannot import name"):
        exec(f"from {f'rayform.zenml.{module}'.rstrip('.')} import {name}")


def test_modules_that_zenml_lacks_are_not_found() -> None:
    """An unknown module or integration is a ModuleNotFoundError."""
    for module in ("rayform.zenml.cliend", "rayform.zenml.integrations.not_one", "rayform.zenml.utils.nope"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(module)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_name_says_what_to_do_when_it_is_used(name: str) -> None:
    """It may be imported and stand in an annotation; a call, a subclass and an attribute are refused with advice."""
    stand_in = refused(f"zenml.somewhere.{name}", REFUSED[name])
    assert isinstance(stand_in, type)
    for use in (stand_in, lambda: stand_in.anything, lambda: type("Mine", (stand_in,), {})):
        with pytest.raises(UsageError, match=f"no counterpart of `zenml.somewhere.{name}`"):
            use()
    assert not hasattr(stand_in, "__fields__")


@pytest.mark.parametrize(
    "integration", sorted(INTEGRATIONS - {"constants", "integration", "registry", "utils"})
)
def test_settings_of_integrations_keep_their_fields(integration: str) -> None:
    """Settings of orchestrators that Rayform doesn't have can be written down; a run reports that it ignores them."""
    module = importlib.import_module(f"rayform.zenml.integrations.{integration}.flavors.some_flavor")
    settings = module.SomeOrchestratorSettings(cpu=2)
    assert settings.cpu == 2 and dict(settings) == {"cpu": 2}
    with pytest.raises(UsageError, match=f"no integration '{integration}'"):
        module.some_step()


def test_importing_rayform_imports_none_of_it() -> None:
    """Users who don't need ZenML's names don't pay for them."""
    program = "import rayform, rayform.authoring.steps, sys; sys.exit('rayform.zenml' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_object_of_an_integration_has_a_module() -> None:
    """The module of each exists; it isn't imported, since some need a library that need not be installed."""
    modules = {target.partition(":")[0] for target in INTEGRATION_OBJECTS.values()}
    assert {module for module in modules if importlib.util.find_spec(module) is None} == set()
