"""What a user module's imports cost: no heavy package comes in before a pipeline is called."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("pydantic", "sqlalchemy", "alembic", "rich", "yaml", "ray", "boto3", "docker", "google", "cloudpickle",
         "click", "psutil", "inspect", "dataclasses", "asyncio", "json", "subprocess", "numpy")  # fmt: skip

STATEMENTS = [
    "import rayform",
    "from rayform import step, pipeline",
    "from rayform import ArtifactConfig, step, pipeline, unmapped\n"
    "@step\n"
    "def one() -> int: return 1\n"
    "@pipeline\n"
    "def all() -> None: one()",
]


@pytest.mark.parametrize("statement", STATEMENTS, ids=["package", "decorators", "a module that uses them"])
def test_nothing_heavy_is_imported(statement: str) -> None:
    """Importing the decorators, and decorating, loads no pydantic, SQLAlchemy, rich or cloud package."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "import json; print(json.dumps(sorted(set(sys.modules) - before - {'json'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)} - {"json"}
    assert not loaded & set(HEAVY)
