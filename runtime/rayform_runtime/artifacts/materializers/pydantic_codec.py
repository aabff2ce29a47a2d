"""Pydantic models field by field, so that what lies in a field keeps its exact type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayform_runtime.artifacts.import_paths import TypeChangedError, import_path, resolve

if TYPE_CHECKING:
    from rayform_runtime.artifacts.materializers.json_codec import Encoder

__all__ = ["decode_model", "encode_model"]


def _shape(kind: Any) -> dict[str, str]:
    return {name: repr(field.annotation) for name, field in kind.model_fields.items()}


def encode_model(encoder: Encoder, value: Any, where: str) -> dict[str, Any]:
    """Return the JSON form of a model: its fields, extras, private attributes, and which fields were set.

    A model with a field of a type that nothing else takes (a URL, an address) is stored by pydantic's own JSON
    where that gives an equal model.
    """
    from rayform_runtime.artifacts.materializers.registry import UnsupportedTypeError

    kind = type(value)
    private = {k: v for k, v in (value.__pydantic_private__ or {}).items() if repr(v) != "PydanticUndefined"}
    try:
        return {
            "shape": _shape(kind),
            "fields": {
                name: encoder.encode(item, f"{where}.{name}")
                for name, item in value.__dict__.items()
                if name in kind.model_fields
            },
            "extra": encoder.encode(value.__pydantic_extra__, where),
            "private": encoder.encode(private, where),
            "set": sorted(value.__pydantic_fields_set__),
        }
    except UnsupportedTypeError:
        dumped = value.model_dump(mode="json", round_trip=True)
        if kind.model_validate(dumped) != value:  # for instance a SecretStr, which dumps as asterisks
            raise
        return {"shape": _shape(kind), "dump": encoder.encode(dumped, where)}


def decode_model(path: str, stored: dict[str, Any]) -> Any:
    """Return the model, as it was where its fields are what they were, and validated anew where they changed.

    Raises:
        TypeChangedError: the stored fields don't fit the model as it is now.
    """
    from pydantic import BaseModel, ValidationError

    kind = resolve(path)
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise TypeChangedError(
            f"A stored value of type '{path}' can't be loaded.",
            why="It was saved as a pydantic model, and isn't one any more.",
            hint="Restore the class, or load the value with `as_type` set to the new type.",
        )
    try:
        if "dump" in stored:
            return kind.model_validate(stored["dump"])
        if stored["shape"] != _shape(kind):
            unknown = stored["fields"].keys() - kind.model_fields.keys()
            if unknown:
                raise TypeChangedError(
                    f"A stored value of type '{path}' doesn't fit the type as it is now.",
                    why=f"It was saved with field '{min(unknown)}', which it doesn't have any more.",
                    hint="Keep old fields, or load it with the code that made it.",
                )
            fields = {name: item for name, item in stored["fields"].items() if name in stored["set"]}
            return kind.model_validate({**fields, **(stored["extra"] or {})}, by_name=True, by_alias=False)
    except ValidationError as error:
        first = error.errors()[0]
        raise TypeChangedError(
            f"A stored value of type '{import_path(kind)}' doesn't fit the type as it is now.",
            why=f"Field '{'.'.join(map(str, first['loc']))}': {first['msg']}.",
            hint="Give new fields a default, or load it with the code that made it.",
        ) from error
    value = kind.model_construct(_fields_set=set(stored["set"]))
    object.__setattr__(value, "__dict__", dict(stored["fields"]))
    if stored["extra"] is not None:
        object.__setattr__(value, "__pydantic_extra__", stored["extra"])
    if stored["private"]:
        object.__setattr__(
            value, "__pydantic_private__", {**(value.__pydantic_private__ or {}), **stored["private"]}
        )
    return value
