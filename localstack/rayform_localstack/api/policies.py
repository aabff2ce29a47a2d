"""Whether policies allow an action on a resource.

The rules that matter for roles of a stack: an explicit Deny wins, then any Allow, else no. `Action`, `NotAction`,
`Resource` and `NotResource` with wildcards are followed. Conditions on keys that the emulator knows are evaluated
(`action_of` in `authorization.py` sets them). A condition on an unknown key counts as fulfilled in an Allow and as
not fulfilled in a Deny, so an emulated role is never narrower than the real one because of missing knowledge.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

__all__ = ["allowed"]


def allowed(
    documents: Iterable[str], action: str, resources: list[str] | None, context: Mapping[str, str]
) -> bool:
    """Return whether policy documents allow an action.

    Args:
        documents: JSON texts of the policies.
        action: such as `"s3:GetObject"`.
        resources: ARNs of what the action touches, all of which must be allowed; `None` if the emulator doesn't know.
        context: values of the known condition keys.
    """
    statements = [s for document in documents for s in _statements(document)]
    touched: list[str | None] = [*resources] if resources else [None]
    for resource in touched:
        verdict = False
        for statement in statements:
            if not _matches(statement, action, resource):
                continue
            deny = statement.get("Effect") == "Deny"
            if not _conditions(statement.get("Condition"), context, unknown=not deny):
                continue
            if deny:
                return False
            verdict = True
        if not verdict:
            return False
    return True


@lru_cache(maxsize=512)
def _statements(document: str) -> tuple[Mapping[str, object], ...]:
    statements = json.loads(document).get("Statement", [])
    return tuple(statements if isinstance(statements, list) else [statements])


def _list(value: object) -> list[str]:
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


@lru_cache(maxsize=4096)
def _pattern(text: str, fold: bool) -> re.Pattern[str]:
    # fnmatch gives [ ] a meaning that IAM's patterns don't have.
    return re.compile(fnmatch.translate(text.replace("[", "[[]")), re.IGNORECASE if fold else 0)


def _any(patterns: list[str], value: str, *, fold: bool = False) -> bool:
    return any(_pattern(p, fold).match(value) for p in patterns)


def _matches(statement: Mapping[str, object], action: str, resource: str | None) -> bool:
    if "NotAction" in statement:
        if _any(_list(statement["NotAction"]), action, fold=True):
            return False
    elif not _any(_list(statement.get("Action")), action, fold=True):
        return False
    if resource is None:
        # An unknown resource matches every Allow, and a Deny only if that names all resources.
        return statement.get("Effect") == "Allow" or "*" in _list(statement.get("Resource"))
    if "NotResource" in statement:
        return not _any(_list(statement["NotResource"]), resource)
    return _any(_list(statement.get("Resource")), resource)


def _conditions(conditions: object, context: Mapping[str, str], *, unknown: bool) -> bool:
    """Whether all conditions hold; `unknown` says whether one that can't be evaluated holds."""
    folded = {key.lower(): value for key, value in context.items()}
    for operator, tests in conditions.items() if isinstance(conditions, Mapping) else ():
        base = operator.removesuffix("IfExists")
        for key, values in tests.items():
            value = folded.get(key.lower())
            if value is None:
                holds = unknown or base != operator
            else:
                holds = _holds(base, value, _list(values), unknown=unknown)
            if not holds:
                return False
    return True


def _holds(operator: str, value: str, values: list[str], *, unknown: bool) -> bool:
    match operator:
        case "StringEquals" | "ArnEquals":
            return value in values
        case "StringNotEquals" | "ArnNotEquals":
            return value not in values
        case "StringEqualsIgnoreCase":
            return value.lower() in [other.lower() for other in values]
        case "StringLike" | "ArnLike":
            return _any(values, value)
        case "StringNotLike" | "ArnNotLike":
            return not _any(values, value)
        case "Bool":
            return value.lower() in [other.lower() for other in values]
        case "Null":
            return "false" in [other.lower() for other in values]
        case _:
            return unknown
