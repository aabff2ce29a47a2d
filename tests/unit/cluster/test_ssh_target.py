"""How the OpenSSH client is called, and what its failures mean."""

import pytest

from rayform_core.errors import UsageError
from rayform_runtime.remote.ssh import SSHTarget


def test_an_address_is_read():
    """User, host and port; port 22 by default."""
    assert SSHTarget.parse("ssh://ubuntu@10.0.0.1") == SSHTarget("ubuntu", "10.0.0.1", 22)
    assert SSHTarget.parse("ssh://me@head.example.com:2222").port == 2222


@pytest.mark.parametrize(
    "address",
    [
        "http://ubuntu@h",
        "ssh://h",
        "ssh://-oProxyCommand=evil@h",
        "ssh://ubuntu@-oProxyCommand=evil",
        "ssh://ubuntu:secret@h",
        "ssh://ubuntu@h/path",
        "h",
    ],
)
def test_a_hostile_or_malformed_address_is_refused(address):
    """Nothing that ssh would read as an option, and no password, passes."""
    with pytest.raises(UsageError, match="ssh://user@host"):
        SSHTarget.parse(address)


def test_host_keys_are_always_checked(tmp_path):
    """Every call checks the host's key strictly, against the pinned file alone."""
    words = SSHTarget("u", "h", 22, "/key", str(tmp_path / "known hosts")).command("echo", "a b")
    assert "StrictHostKeyChecking=yes" in words
    assert f'UserKnownHostsFile="{tmp_path}/known hosts"' in words
    assert "GlobalKnownHostsFile=/dev/null" in words
    assert words[-1] == "echo 'a b'"


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "isn't the machine that was deployed"),
        ("Host key verification failed.", "isn't the machine that was deployed"),
        ("u@h: Permission denied (publickey).", "refuses the key"),
        ("ssh: connect to host h port 22: Connection refused", "can't be reached"),
    ],
)
def test_a_failure_says_what_it_means(said, part):
    """Changed host keys, refused keys and dead hosts each have their own error."""
    assert part in str(SSHTarget("u", "h").failure(255, said, "x"))
