"""Turns pydantic's errors into problems with a line, a column and what would be right."""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

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


def problems_of(error: ValidationError, located: LocatedYaml, model: type[BaseModel]) -> list[Problem]:
    """Return one problem for each error, in the file's order."""
    found = [_problem(dict(detail), located, model) for detail in error.errors(include_url=False)]
    return sorted(found, key=lambda p: (p.mark.line, p.mark.column, p.where))


def _problem(detail: dict[str, Any], located: LocatedYaml, model: type[BaseModel]) -> Problem:
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    where = ".".join(map(str, loc))
    on_key = kind in ("extra_forbidden",) or "[key]" in detail["loc"]
    mark = located.mark(loc, key=on_key)
    last = next((str(part) for part in reversed(loc) if isinstance(part, str)), "")

    if kind == "extra_forbidden":
        known = _fields(model, loc[:-1])
        close = nearest(str(loc[-1]), known)
        hint = (
            f"Did you mean {' or '.join(repr(c) for c in close)}?"
            if close
            else f"Known keys: {', '.join(known)}."
        )
        return Problem(where, mark, f"There is no key '{loc[-1]}'.", hint)
    if kind == "missing":
        return Problem(where, mark, f"The key '{loc[-1]}' is missing.", f"Add `{last}: {_example(last)}`.")
    if "[key]" in detail["loc"]:
        rule = "Tags take letters, digits, spaces and . : / = + @ - _."
        if loc[0] != "tags":
            rule = "Write lower-case letters, digits and hyphens, starting with a letter."
        return Problem(where, mark, f"'{loc[-1]}' can't be a name here.", rule)
    if kind == "value_error":
        message, _, hint = str(context.get("error", detail["msg"])).partition("; ")
        return Problem(where, mark, f"{_upper(message)}.", f"{_upper(hint)}." if hint else "")
    if kind == "literal_error":
        allowed = str(context.get("expected", ""))
        close = nearest(str(given), [a.strip(" '") for a in allowed.replace(" or ", ", ").split(",")])
        hint = f"Write {allowed}." + (
            f" Did you mean '{close[0]}'?" if close and isinstance(given, str) else ""
        )
        if isinstance(given, (int, float)) and "'" in allowed:
            hint = f"Write it in quotes, one of {allowed}."
        return Problem(where, mark, f"{_shown(given)} is not one of the values that '{last}' can have.", hint)
    if kind == "string_type":
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return Problem(
                where,
                mark,
                f"'{last}' must be text, and YAML reads {given} as a number.",
                f'Write it in quotes: "{given}".',
            )
        return Problem(
            where,
            mark,
            f"'{last}' must be text, not {_kind(given)}.",
            f"Write it such as `{last}: {_example(last)}`.",
        )
    if kind == "string_pattern_mismatch" and len(loc) > 1 and loc[-2] == "tags":
        return Problem(
            where,
            mark,
            f"{_shown(given)} can't be a tag's value.",
            "Tags take letters, digits, spaces and . : / = + @ - _.",
        )
    if kind == "string_pattern_mismatch" and loc == ("name",):
        return Problem(
            where,
            mark,
            f"{_shown(given)} can't be a stack's name.",
            "Write lower-case letters, digits and single hyphens, starting with a letter, such as demo.",
        )
    if kind == "string_pattern_mismatch":
        return Problem(
            where, mark, f"{_shown(given)} is not a valid '{last}'.", f"Write it such as {_example(last)}."
        )
    if kind in ("int_type", "int_from_float", "int_parsing"):
        return Problem(
            where,
            mark,
            f"'{last}' must be a whole number, not {_kind(given)}.",
            f"Write it such as `{last}: {_default(model, loc)}`.",
        )
    if kind in ("bool_type", "bool_parsing"):
        return Problem(
            where,
            mark,
            f"'{last}' must be true or false, not {_kind(given)}.",
            "Write `true` or `false`, without quotes.",
        )
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = context.get("ge", context.get("le"))
        return Problem(
            where,
            mark,
            f"{given} is {'below' if kind[0] == 'g' else 'above'} what '{last}' can be.",
            f"Write {bound} or {'more' if kind[0] == 'g' else 'less'}.",
        )
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        keys = _fields(model, loc)
        hint = f"It takes the keys {', '.join(keys)}." if keys else f"Write it such as {_example(last)}."
        return Problem(
            where, mark, f"'{last or 'the file'}' must be a group of keys, not {_kind(given)}.", hint
        )
    if kind == "list_type":
        return Problem(
            where,
            mark,
            f"'{last}' must be a list, not {_kind(given)}.",
            f"Write it such as `{last}: [{_shown(given) if given is not None else '…'}]`.",
        )
    if kind in ("too_short", "too_long"):
        bound = context.get("min_length", context.get("max_length"))
        return Problem(
            where,
            mark,
            f"'{last}' has {context.get('actual_length')} entries.",
            f"It takes {bound} at {'least' if kind == 'too_short' else 'most'}.",
        )
    if kind == "string_too_long":
        return Problem(
            where, mark, f"'{last}' is too long.", f"It takes {context.get('max_length')} characters at most."
        )
    return Problem(
        where,
        mark,
        f"{detail['msg']}.",
        f"Write it such as `{last}: {_example(last)}`." if last in EXAMPLES else "",
    )


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
    """Follow `loc` through fields and the values of dicts, and return the model that stands there."""
    here: Any = model
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


def _unwrap(annotation: Any) -> Any:
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(a for a in get_args(annotation) if a is not type(None))
        else:
            return annotation
