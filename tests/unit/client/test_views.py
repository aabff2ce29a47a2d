"""What editors and `help()` show of the client and its views, and what the views' fields read."""

from __future__ import annotations

import collections.abc
import inspect
import pydoc
import typing
from datetime import datetime
from uuid import UUID

import pytest
from support.seeded_stack import seed_training_run

from rayform.reading import views
from rayform.reading.client import Client
from rayform.reading.views.base import Field, TagName, tag_names
from rayform_runtime.catalog import entities

VIEWS = {
    views.ArtifactVersionView: entities.ArtifactVersion,
    views.ArtifactView: entities.Artifact,
    views.ModelVersionView: entities.ModelVersion,
    views.ModelView: entities.Model,
    views.RunView: entities.Run,
    views.StepRunView: entities.StepRun,
}
FIELDS = [
    (view, record, name)
    for view, record in VIEWS.items()
    for name, value in vars(view).items()
    if isinstance(value, Field)
]
COPIES = {tag_names: list[TagName], list: list[str], dict: dict[str, typing.Any]}


@pytest.mark.parametrize(("view", "record", "name"), FIELDS, ids=[f"{v.__name__}.{n}" for v, _, n in FIELDS])
def test_a_field_has_its_records_type_and_a_docstring(view: type, record: type, name: str) -> None:
    """Each field reads a field that its record has, with the type that it promises, and is documented."""
    field = vars(view)[name]
    names = {
        **vars(entities),
        **vars(collections.abc),
        "datetime": datetime,
        "UUID": UUID,
        "Field": Field,
        "TagName": TagName,
    }
    promised = typing.get_args(eval(vars(view)["__annotations__"][name], names, {"Any": typing.Any}))[0]
    stored = typing.get_type_hints(record)[field._name]
    assert promised == (stored if field._copy is None else COPIES[field._copy])
    assert inspect.getdoc(field)
    assert inspect.getdoc(field) in pydoc.render_doc(view, renderer=pydoc.plaintext)


def test_a_field_is_read_only(client: Client) -> None:
    """Setting a field fails, and changing a list that it returned doesn't change the record."""
    seed_training_run(client)
    run = client.get_pipeline_run("train-1")
    with pytest.raises(AttributeError, match="'name' of 'RunView' can't be set"):
        run.name = "other"  # type: ignore[assignment]
    run.tags.append("mine")
    assert run.tags == list(run.record.tags)


@pytest.mark.parametrize("name", [name for name in vars(Client) if not name.startswith("_")])
def test_every_method_of_the_client_is_documented(name: str) -> None:
    """A method that stands in the module of its subject is bound to the client, with its docstring."""
    assert inspect.getdoc(getattr(Client, name))
    if inspect.isfunction(method := vars(Client)[name]):
        assert method.__name__ == name
        assert next(iter(inspect.signature(method).parameters)) in ("self", "client")
