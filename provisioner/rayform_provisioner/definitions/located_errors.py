"""Turns pydantic's errors into problems that name a line, a column and a correct value."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from rayform_core.errors import nearest
from rayform_provisioner.definitions.located import LocatedYaml, Problem

__all__ = ["problems_of"]

EXAMPLES = {
    "name": "demo",
    "region": "eu-central-1",
    "zones": "[eu-central-1a, eu-central-1b]",
    "owner": "ml-team@example.com",
    "instance_type": "m6i.large",
    "instance_class": "db.t4g.micro",
    "ray_version": '"2.60.0"',
    "postgres_version": '"16"',
    "ami": "ami-0123456789abcdef0",
    "kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "vpc_id": "vpc-0123456789abcdef0",
    "head_subnet_id": "subnet-0123456789abcdef0",
    "node_subnet_ids": "[subnet-0123456789abcdef0]",
    "database_subnet_ids": "[subnet-0123456789abcdef0, subnet-0fedcba9876543210]",
    "bucket": "my-terraform-state",
    "adopt": "rayform-demo-1a2b3c4d",
    "restore_snapshot": "demo-1a2b3c4d-catalog-final",
    "prefix": "rayform",
    "workers": "{cpu: {instance_type: m6i.xlarge, max: 4}}",
}
"""Key to an example of its value."""


def problems_of(error: ValidationError, located: LocatedYaml, model: type[BaseModel]) -> list[Problem]:
    """Return one problem for each error, in the file's order."""
    problems = []
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        wrong = _Wrong(
            detail["type"],
            path,
            "[key]" in detail["loc"],
            detail.get("input"),
            detail.get("ctx", {}),
            detail["msg"],
            model,
        )
        mark = located.mark(path, key=wrong.key or wrong.kind == "extra_forbidden")
        text = _text_of(wrong)
        problems.append(Problem(".".join(map(str, path)), mark, text.message, text.hint))
    return sorted(problems, key=lambda p: (p.mark.line, p.mark.column, p.where))


@dataclass(frozen=True, slots=True)
class _Wrong:
    """One of pydantic's errors.

    Args:
        kind: pydantic's name for the error.
        path: keys and indexes that lead to the value.
        key: whether the last key itself is wrong, rather than its value.
        value: what the file has there.
        context: pydantic's details, such as a bound.
        message: pydantic's sentence.
        model: the whole definition's model.
    """

    kind: str
    path: tuple[str | int, ...]
    key: bool
    value: object
    context: Mapping[str, object]
    message: str
    model: type[BaseModel]

    @property
    def last(self) -> str:
        """The last key of the path, without indexes; empty for the whole file."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")


class _Text(NamedTuple):
    """A problem's sentence, and what would be right."""

    message: str
    hint: str


def _text_of(wrong: _Wrong) -> _Text:
    if wrong.key and wrong.kind != "extra_forbidden":
        return _invalid_key(wrong)
    explain = _TEXTS.get(wrong.kind)
    if explain is not None:
        return explain(wrong)
    return _Text(f"{wrong.message}.", _such_as(wrong) if wrong.last in EXAMPLES else "")


def _unknown_key(wrong: _Wrong) -> _Text:
    keys = _fields(wrong.model, wrong.path[:-1])
    close = nearest(str(wrong.path[-1]), keys)
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known keys: {', '.join(keys)}."
    return _Text(f"There is no key '{wrong.path[-1]}'.", hint)


def _missing(wrong: _Wrong) -> _Text:
    return _Text(f"The key '{wrong.path[-1]}' is missing.", f"Add `{wrong.last}: {_example(wrong.last)}`.")


def _invalid_key(wrong: _Wrong) -> _Text:
    rule = "Write lower-case letters, digits and hyphens, starting with a letter."
    return _Text(f"'{wrong.path[-1]}' can't be a name here.", _TAG_RULE if wrong.path[0] == "tags" else rule)


def _own_check(wrong: _Wrong) -> _Text:
    """Split the text of the definition's own validators: `message; hint`."""
    message, _, hint = str(wrong.context.get("error", wrong.message)).partition("; ")
    return _Text(f"{_upper(message)}.", f"{_upper(hint)}." if hint else "")


def _not_a_choice(wrong: _Wrong) -> _Text:
    value, choices = wrong.value, str(wrong.context.get("expected", ""))
    close = nearest(str(value), [choice.strip(" '") for choice in choices.replace(" or ", ", ").split(",")])
    hint = f"Write {choices}."
    if isinstance(value, (int, float)) and "'" in choices:
        hint = f"Write it in quotes, one of {choices}."
    elif close and isinstance(value, str):
        hint += f" Did you mean '{close[0]}'?"
    return _Text(f"{_shown(value)} is not one of the values that '{wrong.last}' can have.", hint)


def _not_text(wrong: _Wrong) -> _Text:
    value, last = wrong.value, wrong.last
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        message = f"'{last}' must be text, and YAML reads {value} as a number."
        return _Text(message, f'Write it in quotes: "{value}".')
    return _Text(f"'{last}' must be text, not {_kind(value)}.", _such_as(wrong))


def _wrong_pattern(wrong: _Wrong) -> _Text:
    shown = _shown(wrong.value)
    if len(wrong.path) > 1 and wrong.path[-2] == "tags":
        return _Text(f"{shown} can't be a tag's value.", _TAG_RULE)
    if wrong.path == ("name",):
        rule = "Write lower-case letters, digits and single hyphens, starting with a letter, such as demo."
        return _Text(f"{shown} can't be a stack's name.", rule)
    return _Text(f"{shown} is not a valid '{wrong.last}'.", f"Write it such as {_example(wrong.last)}.")


def _not_a_number(wrong: _Wrong) -> _Text:
    return _Text(
        f"'{wrong.last}' must be a whole number, not {_kind(wrong.value)}.",
        f"Write it such as `{wrong.last}: {_default(wrong.model, wrong.path)}`.",
    )


def _not_a_bool(wrong: _Wrong) -> _Text:
    return _Text(
        f"'{wrong.last}' must be true or false, not {_kind(wrong.value)}.",
        "Write `true` or `false`, without quotes.",
    )


def _out_of_range(wrong: _Wrong) -> _Text:
    low = wrong.kind == "greater_than_equal"
    return _Text(
        f"{wrong.value} is {'below' if low else 'above'} what '{wrong.last}' can be.",
        f"Write {wrong.context['ge' if low else 'le']} or {'more' if low else 'less'}.",
    )


def _not_a_group(wrong: _Wrong) -> _Text:
    keys = _fields(wrong.model, wrong.path)
    hint = f"It takes the keys {', '.join(keys)}." if keys else f"Write it such as {_example(wrong.last)}."
    return _Text(f"'{wrong.last or 'the file'}' must be a group of keys, not {_kind(wrong.value)}.", hint)


def _not_a_list(wrong: _Wrong) -> _Text:
    item = _shown(wrong.value) if wrong.value is not None else "…"
    return _Text(
        f"'{wrong.last}' must be a list, not {_kind(wrong.value)}.",
        f"Write it such as `{wrong.last}: [{item}]`.",
    )


def _wrong_count(wrong: _Wrong) -> _Text:
    short = wrong.kind == "too_short"
    bound = wrong.context["min_length" if short else "max_length"]
    return _Text(
        f"'{wrong.last}' has {wrong.context.get('actual_length')} entries.",
        f"It takes {bound} at {'least' if short else 'most'}.",
    )


def _text_too_long(wrong: _Wrong) -> _Text:
    limit = wrong.context.get("max_length")
    return _Text(f"'{wrong.last}' is too long.", f"It takes {limit} characters at most.")


_TAG_RULE = "Tags take letters, digits, spaces and . : / = + @ - _."

_TEXTS: dict[str, Callable[[_Wrong], _Text]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "value_error": _own_check,
    "literal_error": _not_a_choice,
    "string_type": _not_text,
    "string_pattern_mismatch": _wrong_pattern,
    "string_too_long": _text_too_long,
    "int_type": _not_a_number,
    "int_from_float": _not_a_number,
    "int_parsing": _not_a_number,
    "bool_type": _not_a_bool,
    "bool_parsing": _not_a_bool,
    "greater_than_equal": _out_of_range,
    "less_than_equal": _out_of_range,
    "model_type": _not_a_group,
    "model_attributes_type": _not_a_group,
    "dict_type": _not_a_group,
    "list_type": _not_a_list,
    "too_short": _wrong_count,
    "too_long": _wrong_count,
}
"""Pydantic's name for an error to the function that explains it."""


def _such_as(wrong: _Wrong) -> str:
    return f"Write it such as `{wrong.last}: {_example(wrong.last)}`."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a group of keys"
    if isinstance(value, list):
        return "a list"
    return f"the {'text' if isinstance(value, str) else 'value'} {_shown(value)}"


def _example(last: str) -> str:
    return EXAMPLES.get(last, "…")


def _default(model: type[BaseModel], loc: tuple[str | int, ...]) -> object:
    holder = _model_at(model, loc[:-1])
    name = str(loc[-1]) if loc else ""
    if holder is not None and name in holder.model_fields and not holder.model_fields[name].is_required():
        return holder.model_fields[name].default
    return 1


def _fields(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    holder = _model_at(model, loc)
    return list(holder.model_fields) if holder is not None else []


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Follow `loc` through fields, dict values and list items, and return the model that is there."""
    here: object = model
    for part in loc:
        here = _unwrap(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            if field is None:
                return None
            here = field.annotation
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        elif get_origin(here) is list:
            here = get_args(here)[0]
        else:
            return None
    here = _unwrap(here)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _unwrap(annotation: object) -> object:
    """Return `annotation` without `Annotated` and without `None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(a for a in get_args(annotation) if a is not type(None))
        else:
            return annotation
