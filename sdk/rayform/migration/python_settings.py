"""Turns `settings={"docker": ..., "resources": ...}` of a step or pipeline into `image=` and `resources=`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor, RemoveImportsVisitor

from rayform.migration.names import home_of

__all__ = ["DOCKER_FIELDS", "RESOURCE_FIELDS", "Settings", "memory_in_bytes"]

DOCKER_FIELDS = {
    "parent_image": "base_image",
    "requirements": "requirements",
    "apt_packages": "apt_packages",
    "environment": "environment",
    "dockerfile": "dockerfile",
}
"""Fields of ZenML's `DockerSettings` to those of `ImageSpec` with the same values."""
RESOURCE_FIELDS = {"cpu_count": "cpus", "gpu_count": "gpus", "memory": "memory"}
"""Fields of ZenML's `ResourceSettings` to those of `Resources`."""
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_MEMORY = re.compile(r"(\d+)\s*([KMGTP])(i?)B")


class _Conversion(NamedTuple):
    option: str  # the argument that takes the place of the setting
    kind: str  # the class of the new value
    old: str  # the class of the old value
    fields: Mapping[str, str]


_CONVERSIONS = {
    "docker": _Conversion("image", "ImageSpec", "DockerSettings", DOCKER_FIELDS),
    "resources": _Conversion("resources", "Resources", "ResourceSettings", RESOURCE_FIELDS),
}


def memory_in_bytes(text: str) -> str | None:
    """Return the Python expression for ZenML's text of a size; `None` if it isn't one.

    Example:
        >>> memory_in_bytes("4GB"), memory_in_bytes("512MiB")
        ('4 * 10**9', '512 * 2**20')
    """
    parts = _MEMORY.fullmatch(text)
    if parts is None:
        return None
    power = _UNITS[parts[2]]
    return f"{parts[1]} * 2**{10 * power}" if parts[3] else f"{parts[1]} * 10**{3 * power}"


class Settings:
    """Rewrites the argument `settings=` of calls.

    Args:
        context: collects the imports that the new values need.
        homes: `module:name` of ZenML by local name.
    """

    def __init__(self, context: CodemodContext, homes: Mapping[str, str]) -> None:
        self._context = context
        self._homes = homes
        self.changed = False  # becomes true with the first rewritten call

    def rewritten(self, call: cst.Call) -> tuple[cst.Call, list[tuple[str, str]]]:
        """Return a call with what can be said in Rayform's own form, and what needs a human."""
        notes: list[tuple[str, str]] = []
        arguments = {a.keyword.value: a for a in call.args if a.keyword is not None}
        settings = arguments.get("settings")
        if settings is None or not isinstance(settings.value, cst.Dict):
            return call, notes
        kept: list[cst.BaseDictElement] = []
        added: list[cst.Arg] = []
        for element in settings.value.elements:
            key = element.key.evaluated_value if _is_text(element) else None  # type: ignore[attr-defined]
            conversion = _CONVERSIONS.get(key) if isinstance(key, str) else None
            value = None
            if conversion is not None and conversion.option not in arguments:
                value = self._converted(element.value, conversion)
            if value is None or conversion is None:
                if isinstance(key, str) and key not in _CONVERSIONS:
                    why = "Rayform has no such component: the run says so and ignores the setting. Remove it."
                    notes.append((f"settings[{key!r}]", why))
                kept.append(element)
                continue
            added.append(settings.with_changes(keyword=cst.Name(conversion.option), value=value))
        if not added:
            return call, notes
        self.changed = True
        if kept:
            kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            added.append(settings.with_changes(value=settings.value.with_changes(elements=kept)))
        arguments_after: list[cst.Arg] = []
        for argument in call.args:
            if argument is not settings:
                arguments_after.append(argument)
                continue
            for i, new in enumerate(added):
                is_last = i == len(added) - 1
                comma = argument.comma if is_last else cst.Comma(whitespace_after=_after(argument))
                arguments_after.append(new.with_changes(comma=comma))
        return call.with_changes(args=arguments_after), notes

    def _converted(self, value: cst.BaseExpression, conversion: _Conversion) -> cst.Call | None:
        """Return Rayform's form of a settings object; `None` if a part of it has none."""
        if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Name):
            return None
        origin = self._homes.get(value.func.value, "")
        module, _, name = origin.partition(":")
        if name != conversion.old:
            return None
        arguments: list[cst.Arg] = []
        for argument in value.args:
            field = conversion.fields.get(argument.keyword.value) if argument.keyword is not None else None
            if field is None:
                return None
            new = argument.value
            if field == "memory":
                text = new.evaluated_value if isinstance(new, cst.SimpleString) else None
                expression = memory_in_bytes(text) if isinstance(text, str) else None
                if expression is None:
                    return None
                new = cst.parse_expression(expression)
            arguments.append(argument.with_changes(keyword=cst.Name(field), value=new))
        AddImportsVisitor.add_needed_import(self._context, "rayform", conversion.kind)
        home = home_of(module, name)
        RemoveImportsVisitor.remove_unused_import(
            self._context, home.module if home else module, home.name if home else name
        )
        return value.with_changes(func=cst.Name(conversion.kind), args=arguments)


def _is_text(element: cst.BaseDictElement) -> bool:
    return isinstance(element, cst.DictElement) and isinstance(element.key, cst.SimpleString)


def _after(argument: cst.Arg) -> cst.BaseParenthesizableWhitespace:
    comma = argument.comma
    if isinstance(comma, cst.Comma) and not isinstance(comma.whitespace_after, cst.SimpleWhitespace):
        return comma.whitespace_after
    return cst.SimpleWhitespace(" ")
