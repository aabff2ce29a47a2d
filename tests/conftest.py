"""Settings of all property-based tests.

How long an example takes on a busy machine decides nothing. The examples are the same in every run, so that a change is
judged by itself; `RAYFORM_SEARCH=1` looks for new ones.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "rayform",
    deadline=None,
    derandomize=not os.environ.get("RAYFORM_SEARCH"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("rayform")
