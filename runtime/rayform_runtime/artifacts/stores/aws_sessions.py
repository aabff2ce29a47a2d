"""Sessions of boto3 that share what botocore reads from its own files, and nothing of a person's."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["new_session", "read_descriptions"]


def new_session() -> Any:
    """Return a boto3 session of its own, with the AWS chain's present settings and credentials.

    A session's first client takes 65 ms of processor time, nearly all for reading the service's description; here
    each process reads it once, and a process that was forked after `read_descriptions` never.

    Example:
        >>> new_session().client("s3", region_name="eu-central-1")  # doctest: +SKIP
    """
    import boto3
    from botocore.session import Session

    core = Session()
    # Of a session's parts only this one is shared: another's settings or credentials may have changed since.
    loader = _loader(core.get_config_variable("data_path"))
    core.register_component("data_loader", loader)
    session = boto3.Session(botocore_session=core)
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # each session adds boto3's folder once more
    return session


def read_descriptions(service: str) -> None:
    """Read now what the first client of `service` would; reaches no network and starts no thread."""
    new_session().client(
        service,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106
    )


@cache
def _loader(data_path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(data_path)
