"""What image tests share."""

import pytest

from rayform_core.wheel import build_wheel
from rayform_runtime.images.build_context import ImagePlatform


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    return ImagePlatform("2.60.0", "3.11", build_wheel(tmp_path_factory.mktemp("wheel")))
