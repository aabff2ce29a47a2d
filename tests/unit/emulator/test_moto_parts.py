"""Changes of moto at run time."""

from __future__ import annotations

import os

import pytest

from rayform_localstack.api.moto_parts import part, remembering_hosts


def test_a_host_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request for a host lists no folder, and every host has the same service as before."""
    dispatcher = part("moto_server.werkzeug_app:DomainDispatcherApplication")
    plain, quick = dispatcher(lambda service: service), remembering_hosts(dispatcher(lambda service: service))
    hosts = (
        "s3.eu-central-1.amazonaws.com",
        "ec2.us-east-1.amazonaws.com",
        "instance_metadata",
        "example.com",
        None,
    )
    for host in hosts:
        assert quick.get_backend_for_host(host) == plain.get_backend_for_host(host)
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("the folder was listed again"))
    for host in hosts:
        quick.get_backend_for_host(host)
