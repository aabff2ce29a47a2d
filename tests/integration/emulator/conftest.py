"""One emulated cloud for each file of tests, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.emulated import EmulatedCloud, running_cloud

from rayform_localstack import engine


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedCloud]:
    """A moto cloud that runs for the tests of one file."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFORM_HOME", str(home))
        yield from running_cloud(home, notice_seconds=1.5)


@pytest.fixture(scope="module", params=["moto", pytest.param("localstack", marks=pytest.mark.localstack)])
def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedCloud]:
    """A cloud of each engine in turn."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFORM_HOME", str(home))
        yield from running_cloud(home, request.param)


@pytest.fixture(scope="session", autouse=True)
def _close_docker() -> Iterator[None]:
    """Close the shared client of Docker Engine before pytest counts open sockets."""
    yield
    engine.docker_client().close()
    engine.docker_client.cache_clear()
