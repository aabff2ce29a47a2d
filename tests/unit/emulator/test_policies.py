"""What policies allow, by the rules of IAM that roles of a stack use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_localstack.api.policies import allowed

BUCKET = "arn:aws:s3:::mine"


def policy(*statements: dict[str, Any]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    """Return a statement that allows."""
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def test_nothing_is_allowed_without_a_statement() -> None:
    """No policy means no."""
    assert not allowed([], "s3:GetObject", [f"{BUCKET}/a"], {})


@pytest.mark.parametrize(
    ("action", "resource", "expected"),
    [
        ("s3:GetObject", f"{BUCKET}/a/b", True),
        ("s3:getobject", f"{BUCKET}/a", True),
        ("s3:PutObject", f"{BUCKET}/a", False),
        ("s3:GetObject", "arn:aws:s3:::other/a", False),
        ("s3:GetObject", BUCKET, False),
    ],
)
def test_action_and_resource_must_match(action: str, resource: str, expected: bool) -> None:
    """Actions match without regard to case, resources with it, both with wildcards."""
    assert allowed([policy(allow("s3:Get*", f"{BUCKET}/*"))], action, [resource], {}) is expected


def test_an_explicit_deny_wins_over_any_allow() -> None:
    """A Deny counts in any position."""
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": f"{BUCKET}/system/*"}
    for documents in ([policy(allow("*"), deny)], [policy(deny), policy(allow("*"))]):
        assert not allowed(documents, "s3:PutObject", [f"{BUCKET}/system/x"], {})
        assert allowed(documents, "s3:PutObject", [f"{BUCKET}/x"], {})


def test_every_resource_of_a_request_must_be_allowed() -> None:
    """One forbidden object refuses a request that names several."""
    documents = [policy(allow("s3:DeleteObject", f"{BUCKET}/a*"))]
    assert allowed(documents, "s3:DeleteObject", [f"{BUCKET}/a1", f"{BUCKET}/a2"], {})
    assert not allowed(documents, "s3:DeleteObject", [f"{BUCKET}/a1", f"{BUCKET}/b"], {})


def test_not_action_and_not_resource_mean_all_others() -> None:
    """The negated forms match what they don't name."""
    document = policy({"Effect": "Allow", "NotAction": "iam:*", "NotResource": f"{BUCKET}/secret/*"})
    assert allowed([document], "s3:GetObject", [f"{BUCKET}/a"], {})
    assert not allowed([document], "iam:CreateUser", ["*"], {})
    assert not allowed([document], "s3:GetObject", [f"{BUCKET}/secret/a"], {})


@pytest.mark.parametrize(
    ("context", "expected"),
    [({"ec2:ResourceTag/stack": "a"}, True), ({"ec2:ResourceTag/stack": "b"}, False), ({}, True)],
)
def test_a_condition_counts_where_its_key_is_known(context: dict[str, str], expected: bool) -> None:
    """An Allow with a condition on a key that the emulator doesn't know is not narrowed by it."""
    condition = {"StringEquals": {"ec2:ResourceTag/stack": "a"}}
    document = policy(allow("ec2:TerminateInstances", Condition=condition))
    assert allowed([document], "ec2:TerminateInstances", None, context) is expected


def test_a_deny_on_an_unknown_key_does_not_bite() -> None:
    """A Deny whose condition isn't known is ignored."""
    deny = {
        "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}},
    }  # fmt: skip
    assert allowed([policy(allow("*"), deny)], "s3:GetObject", ["x"], {})


@given(st.text(alphabet="abc[]*?!-", max_size=12))
def test_brackets_in_a_pattern_are_themselves(name: str) -> None:
    """IAM's patterns know `*` and `?` alone: a pattern always matches its own text."""
    assert allowed(
        [policy(allow("s3:GetObject", f"{BUCKET}/{name}"))], "s3:GetObject", [f"{BUCKET}/{name}"], {}
    )
