"""Evaluates IAM policies as AWS does, for the operators that Rayform's roles use.

Source: AWS IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements: Condition operators".
An explicit deny wins; without an allow that matches, the answer is no. If a request lacks a condition key, the
condition fails, unless its operator is `ForAllValues` or a negated one.
"""

from __future__ import annotations

import re
from typing import Any


def _like(pattern: str, text: str) -> bool:
    expression = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch(expression, text) is not None


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _holds(conditions: dict[str, dict[str, Any]], context: dict[str, Any]) -> bool:
    for operator, tests in conditions.items():
        every, _, name = operator.rpartition(":")
        for key, expected in tests.items():
            actual = next((v for k, v in context.items() if k.lower() == key.lower()), None)
            if actual is None:
                if every == "ForAllValues" or name in ("StringNotEquals", "ArnNotEquals"):
                    continue
                return False
            match name:
                case "StringNotEquals" | "ArnNotEquals":
                    matches = [
                        not any(_like(one, value) for one in _many(expected)) for value in _many(actual)
                    ]
                case "StringEquals" | "Bool":
                    matches = [
                        any(str(value) == str(one) for one in _many(expected)) for value in _many(actual)
                    ]
                case "StringLike" | "ArnEquals" | "ArnLike":
                    matches = [any(_like(one, value) for one in _many(expected)) for value in _many(actual)]
                case _:
                    raise NotImplementedError(operator)
            if not (all(matches) if every == "ForAllValues" else any(matches)):
                return False
    return True


def allowed(
    policies: list[dict[str, Any]], action: str, resource: str, context: dict[str, Any] | None = None
) -> bool:
    """Return whether `policies` allow `action` on `resource`."""
    answer = False
    for policy in policies:
        for statement in _many(policy["Statement"]):
            if not any(_like(pattern.lower(), action.lower()) for pattern in _many(statement["Action"])):
                continue
            if not any(_like(pattern, resource) for pattern in _many(statement["Resource"])):
                continue
            if not _holds(statement.get("Condition", {}), context or {}):
                continue
            if statement["Effect"] == "Deny":
                return False
            answer = True
    return answer


def role_policies(iam: Any, role: str) -> list[dict[str, Any]]:
    """Return the inline policies of a role."""
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
