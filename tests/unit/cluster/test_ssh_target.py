"""How the OpenSSH client is called, and what its failures mean."""

import os

import pytest

from rayform_core.errors import PrerequisiteError, UsageError
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
        "ssh://u@h:0",
        "ssh://u@h:65536",
        "ssh://u@h:-1",
        "ssh://u@h:99999999999999999999",
        "ssh://u@h:port",
        "ssh://u@[::1",
        "ssh://u@h:٢٢",
        "",
        "ssh://",
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


@pytest.mark.parametrize(
    "place", ["a folder of the user's own", "a folder that others can read", "nothing", "a file"]
)
def test_a_link_in_the_place_of_the_control_folder_is_refused(tmp_path, monkeypatch, place):
    """Another user may put a link into /tmp before Rayform makes its folder there: it isn't followed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    target = tmp_path / "target"
    if place == "a file":
        target.write_text("")
    elif place != "nothing":
        target.mkdir(mode=0o700 if "own" in place else 0o755)
    (tmp_path / f"rayform-ssh-{os.getuid()}").symlink_to(target)
    with pytest.raises(PrerequisiteError):
        SSHTarget("u", "h").control_path()
    assert not target.is_dir() or list(target.iterdir()) == []


def test_the_control_folder_is_private(tmp_path, monkeypatch):
    """The folder of the shared connection has mode 0700."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = SSHTarget("u", "h").control_path().parent
    assert folder.stat().st_mode & 0o777 == 0o700
