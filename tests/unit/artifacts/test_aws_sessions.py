"""Sessions of boto3 share descriptions of services, and nothing else."""

from __future__ import annotations

import threading

import pytest

from rayform_runtime.artifacts.stores.aws_sessions import new_session, read_descriptions


def test_a_later_session_reads_no_description_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was read for one session serves the next, without a thread that would keep a process from forking."""
    before = threading.active_count()
    read_descriptions("s3")
    assert threading.active_count() == before
    from botocore.loaders import JSONFileLoader

    monkeypatch.setattr(JSONFileLoader, "load_file", lambda *_: pytest.fail("a file was read again"))
    new_session().client("s3", region_name="eu-central-1")


def test_a_later_session_has_the_present_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that changed since count."""
    for number in ("one", "two"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", number)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        assert new_session().get_credentials().access_key == number


def test_sessions_leave_nothing_behind() -> None:
    """The list of folders with descriptions is as long after many sessions as after one."""
    first, *_, last = (new_session()._session.get_component("data_loader") for _ in range(10))
    assert first is last
    assert len(set(last.search_paths)) == len(last.search_paths)
