"""A refusal of AWS becomes an error whose next step fits it."""

from __future__ import annotations

import pytest

from rayform_core.errors import RemoteError
from rayform_provisioner.aws.calls import aws_calls
from rayform_provisioner.clouds import MissingCredentialsError
from rayform_provisioner.targets import AWS, Target

EMULATED = Target("localstack", {"ec2": "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    ("target", "code", "hint"),
    [
        (AWS, "InvalidClientTokenId", "aws sso login"),
        (AWS, "ExpiredTokenException", "aws sso login"),
        (AWS, "AuthFailure", "aws sso login"),
        (EMULATED, "InvalidClientTokenId", "endpoints file"),
        (AWS, "UnauthorizedOperation", "whole policy"),
        (AWS, "AccessDenied", "whole policy"),
        (AWS, "InternalError", "Run the command again"),
    ],
)
def test_next_step(target, code, hint):
    """Wrong keys, a missing permission and a passing failure each have their own next step."""
    exceptions = pytest.importorskip("botocore.exceptions")
    with pytest.raises(RemoteError) as caught, aws_calls(target):
        raise exceptions.ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeVpcs")
    assert hint in str(caught.value.hint)


def test_missing_keys_name_the_emulated_cloud_that_is_up(tmp_path, monkeypatch):
    """Without AWS credentials, the emulated cloud of this home is offered once it is up."""
    exceptions = pytest.importorskip("botocore.exceptions")
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    offered = []
    for _ in range(2):
        with pytest.raises(MissingCredentialsError) as caught, aws_calls(AWS):
            raise exceptions.NoCredentialsError
        offered.append("--target localstack" in str(caught.value.hint))
        (tmp_path / "localstack").mkdir(exist_ok=True)
        (tmp_path / "localstack" / "endpoints.json").write_text("{}")
    assert offered == [False, True]
