"""Pydantic models as JSON, field by field, so that the value in a field keeps its exact type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from rayform_runtime.artifacts.import_paths import TypeChangedError, import_path
from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError
from rayform_runtime.artifacts.trust import resolve_stored

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["decode_model", "encode_model"]

E = TypeVar("E")


def _shape(kind: type[BaseModel]) -> dict[str, str]:
    return {name: repr(field.annotation) for name, field in kind.model_fields.items()}


def encode_model(
    value: BaseModel, encode: Callable[[object, str], E], where: str
) -> dict[str, E | list[str] | dict[str, str] | dict[str, E]]:
    """Return the JSON form of a model: its fields, extras, private attributes, and which fields were set.

    If no materializer takes the type of a field (a URL, an address), pydantic's own JSON is stored, provided that it
    gives an equal model.

    Args:
        value: the model.
        encode: returns the JSON form of a value at a place in the whole value.
        where: the model's place in the whole value.
    """
    kind = type(value)
    private = {k: v for k, v in (value.__pydantic_private__ or {}).items() if repr(v) != "PydanticUndefined"}
    try:
        return {
            "shape": _shape(kind),
            "fields": {
                name: encode(item, f"{where}.{name}")
                for name, item in value.__dict__.items()
                if name in kind.model_fields
            },
            "extra": encode(value.__pydantic_extra__, where),
            "private": encode(private, where),
            "set": sorted(value.__pydantic_fields_set__),
            **_others(value, encode, where),
        }
    except UnsupportedTypeError:
        dumped = value.model_dump(mode="json", round_trip=True)
        if kind.model_validate(dumped) != value:  # for instance a SecretStr, which dumps as asterisks
            raise
        return {"shape": _shape(kind), "dump": encode(dumped, where)}


def _others(value: BaseModel, encode: Callable[[object, str], E], where: str) -> dict[str, dict[str, E]]:
    """Return attributes that are no fields, such as the values of a `cached_property`, if there are any."""
    others: dict[str, E] = {}
    for name, item in value.__dict__.items():
        if name not in type(value).model_fields:
            try:
                others[name] = encode(item, f"{where}.{name}")
            except UnsupportedTypeError:
                if not isinstance(getattr(type(value), name, None), cached_property):
                    raise
                # It is computed again, as it was the first time.
    return {"others": others} if others else {}


def decode_model(path: str | type, stored: Mapping[str, Any]) -> BaseModel:
    """Return a model from what `encode_model` returned; it is validated again only if its class has other fields now.

    Raises:
        TypeChangedError: the stored fields don't fit the model as it is now.
    """
    from pydantic import BaseModel, RootModel, ValidationError

    kind = resolve_stored(path) if isinstance(path, str) else path
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise TypeChangedError(
            f"A stored value of type '{path}' can't be loaded.",
            why=f"It was saved as a pydantic model, and '{path}' isn't one any more.",
            hint="Restore the class, or load the value as another type: `load(as_type=NewType)`.",
        )
    try:
        if "dump" in stored:
            return kind.model_validate(stored["dump"])
        if stored["shape"] != _shape(kind):
            unknown = stored["fields"].keys() - kind.model_fields.keys()
            if unknown:
                raise TypeChangedError(
                    f"A stored value of type '{path}' doesn't fit the type as it is now.",
                    why=f"The saved value has a field '{min(unknown)}', which the type no longer has.",
                    hint="Keep old fields, or load the value with the code that saved it.",
                )
            fields = {name: item for name, item in stored["fields"].items() if name in stored["set"]}
            return kind.model_validate({**fields, **(stored["extra"] or {})}, by_name=True, by_alias=False)
    except ValidationError as error:
        first = error.errors()[0]
        raise TypeChangedError(
            f"A stored value of type '{import_path(kind)}' doesn't fit the type as it is now.",
            why=f"Field '{'.'.join(map(str, first['loc']))}': {first['msg']}.",
            hint="Give new fields a default, or load the value with the code that saved it.",
        ) from error
    # Not by `model_construct`, which asks a `RootModel` for its root, and calls `model_post_init` once more.
    value = kind.__new__(kind)
    object.__setattr__(value, "__dict__", {**stored["fields"], **stored.get("others", {})})
    object.__setattr__(value, "__pydantic_fields_set__", set(stored["set"]))
    if issubclass(kind, RootModel):
        return value  # it has neither extras nor private attributes, nor slots for them
    object.__setattr__(value, "__pydantic_extra__", stored["extra"])
    private: dict[str, object] | None = None
    if kind.__private_attributes__:
        defaults = {name: attribute.get_default() for name, attribute in kind.__private_attributes__.items()}
        private = {name: item for name, item in defaults.items() if repr(item) != "PydanticUndefined"}
        private.update(stored["private"])
    object.__setattr__(value, "__pydantic_private__", private)
    return value
