"""One emulated cloud for each file of tests, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.emulated import EmulatedCloud, running_cloud


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedCloud]:
    """A moto cloud that runs for the tests of one file."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFORM_HOME", str(home))
        yield from running_cloud(home, notice_seconds=1.5)
