# ruff: noqa: E501
"""What is wrong with a user's AWS credentials is said in a sentence of its own, with the command that helps."""

from __future__ import annotations

import sys

import pytest

from rayform_core.errors import RemoteError
from rayform_provisioner.aws.calls import aws_calls
from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.credentials import credentials_error, emulated_session, user_session
from rayform_provisioner.clouds import MissingCredentialsError
from rayform_provisioner.targets import AWS, Target

pytest.importorskip("botocore")

EMULATED = Target("localstack", {"ec2": "http://127.0.0.1:1"}, access_key="test", secret_key="test")


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Writes `~/.aws/config`, selects a profile, and takes away every other source of credentials."""

    def write(text, profile="team"):
        path = tmp_path / "config"
        path.write_text(text)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in (
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_DEFAULT_PROFILE",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_PROFILE", profile)

    user_session.cache_clear()
    emulated_session.cache_clear()
    yield write
    user_session.cache_clear()
    emulated_session.cache_clear()


def process(code):
    """A profile whose credentials a program prints."""
    return f'[profile team]\ncredential_process = {sys.executable} -c "{code}"\n'


SSO = """\
[profile team]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = dev
[sso-session corp]
sso_region = eu-central-1
sso_start_url = https://127.0.0.1:1/start
"""


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ("[profile other]\n", "no AWS profile 'team'", "list-profiles"),
        ("[profile team\nbroken", "configuration file can't be read", "aws configure list"),
        ("[profile team]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = gone\n", "configuration of AWS profile 'team'", "config"),
        ("[profile team]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = b\n[profile b]\nrole_arn = arn:aws:iam::123456789012:role/y\nsource_profile = team\n", "configuration of AWS profile 'team'", "config"),
        (process("raise SystemExit(3)"), "gave no credentials", "get-caller-identity --profile team"),
        (process("print('hello')"), "can't be read", "must print JSON"),
        (process("print('[]')"), "can't be read", "must print JSON"),
        (process("print('{}')"), "gave no credentials", "get-caller-identity"),
        ("[profile team]\ncredential_process = /nonexistent/program\n", "can't be read", "by hand"),
        (SSO, "SSO login of AWS profile 'team' has expired", "aws sso login --profile team"),
        ("[profile team]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = b\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n[profile b]\naws_access_key_id = a\naws_secret_access_key = b\n", "no terminal to type it on", "in a terminal"),
        ("[profile team]\n", "There are no AWS credentials", "aws configure"),
    ],
)  # fmt: skip
def test_each_fault_has_its_sentence(configured, config, message, hint):
    """Profiles that are missing, broken, expired or in need of a code are each named, with what to do."""
    configured(config)
    with pytest.raises(MissingCredentialsError) as caught:
        client(AWS, "ec2", "eu-central-1")
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_every_error_about_credentials_is_known():
    """No class of botocore's about credentials, logins or profiles is left to "check the network"."""
    from botocore import exceptions

    words = ("Credential", "SSO", "Login", "Profile", "MFA")
    classes = [
        kind
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type)
        and issubclass(kind, exceptions.BotoCoreError)
        and any(word in name for word in words)
    ]
    assert len(classes) > 10
    for kind in classes:
        error = kind.__new__(kind)
        Exception.__init__(error, "no")
        assert credentials_error(error) is not None, kind


@pytest.mark.parametrize("config", ["[profile other]\n", "[profile team\nbroken"])
def test_an_emulated_cloud_needs_none_of_it(configured, config):
    """The user's broken profile is no hindrance to the emulated cloud, which has keys of its own."""
    configured(config)
    assert client(EMULATED, "ec2", "eu-central-1").meta.region_name == "eu-central-1"


def test_an_answer_that_is_not_awss_is_named_as_such():
    """A proxy's HTML page is neither a traceback nor AWS's refusal."""
    from botocore.parsers import ResponseParserError

    with pytest.raises(RemoteError, match="not AWS's") as caught, aws_calls(AWS):
        raise ResponseParserError("Unable to parse response (syntax error), invalid XML received:\nb'<html>'")
    assert "proxy" in str(caught.value.hint)
