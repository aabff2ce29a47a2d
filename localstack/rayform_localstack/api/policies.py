"""Whether policies allow an action on a resource.

The rules that matter for roles of a stack: an explicit Deny wins, then any Allow, else no. `Action`, `NotAction`,
`Resource` and `NotResource` with wildcards are followed. Of conditions, those on keys that the emulator knows are
evaluated (`CONTEXT_KEYS` in `authorization.py`); one on an unknown key counts as fulfilled in an Allow and as not
fulfilled in a Deny, so an emulated role is never narrower than the real one for want of knowledge.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

__all__ = ["allowed"]


def allowed(
    documents: Iterable[str], action: str, resources: list[str] | None, context: Mapping[str, str]
) -> bool:
    """Return whether policy documents let their holder do this.

    Args:
        documents: JSON texts of the policies.
        action: such as `"s3:GetObject"`.
        resources: ARNs that are touched, all of which must be allowed; `None` where the emulator can't tell.
        context: values of the condition keys that are known.
    """
    statements = [s for document in documents for s in _statements(document)]
    touched: list[str | None] = [*resources] if resources else [None]
    for resource in touched:
        verdict = False
        for statement in statements:
            if not _matches(statement, action, resource):
                continue
            deny = statement.get("Effect") == "Deny"
            if not _conditions(statement.get("Condition") or {}, context, unknown=not deny):
                continue
            if deny:
                return False
            verdict = True
        if not verdict:
            return False
    return True


@lru_cache(maxsize=512)
def _statements(document: str) -> tuple[dict[str, Any], ...]:
    found = json.loads(document).get("Statement", [])
    return tuple(found if isinstance(found, list) else [found])


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


@lru_cache(maxsize=4096)
def _pattern(text: str, fold: bool) -> re.Pattern[str]:
    # fnmatch gives [ ] a meaning that IAM's patterns don't have.
    return re.compile(fnmatch.translate(text.replace("[", "[[]")), re.IGNORECASE if fold else 0)


def _any(patterns: list[str], value: str, *, fold: bool = False) -> bool:
    return any(_pattern(p, fold).match(value) for p in patterns)


def _matches(statement: dict[str, Any], action: str, resource: str | None) -> bool:
    if "NotAction" in statement:
        if _any(_list(statement["NotAction"]), action, fold=True):
            return False
    elif not _any(_list(statement.get("Action")), action, fold=True):
        return False
    if resource is None:
        # An unknown resource meets an Allow of any resource, and a Deny only of all.
        return statement.get("Effect") == "Allow" or "*" in _list(statement.get("Resource"))
    if "NotResource" in statement:
        return not _any(_list(statement["NotResource"]), resource)
    return _any(_list(statement.get("Resource")), resource)


def _conditions(conditions: dict[str, Any], context: Mapping[str, str], *, unknown: bool) -> bool:
    folded = {key.lower(): value for key, value in context.items()}
    for operator, tests in conditions.items():
        for key, wanted in tests.items():
            value = folded.get(key.lower())
            base = operator.removesuffix("IfExists")
            if value is None and base != operator:
                continue
            if value is None:
                if not unknown:
                    return False
                continue
            if not _holds(base, value, _list(wanted), unknown=unknown):
                return False
    return True


def _holds(operator: str, value: str, wanted: list[str], *, unknown: bool) -> bool:
    match operator:
        case "StringEquals" | "ArnEquals":
            return value in wanted
        case "StringNotEquals" | "ArnNotEquals":
            return value not in wanted
        case "StringEqualsIgnoreCase":
            return value.lower() in [w.lower() for w in wanted]
        case "StringLike" | "ArnLike":
            return _any(wanted, value)
        case "StringNotLike" | "ArnNotLike":
            return not _any(wanted, value)
        case "Bool":
            return value.lower() in [w.lower() for w in wanted]
        case "Null":
            return "false" in [w.lower() for w in wanted]
        case _:
            return unknown
