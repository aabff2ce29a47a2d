"""A notebook whose steps are called plainly and run by Rayform: what they return is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "support" / "notebooks" / "steps.ipynb"
EXECUTE = """
import sys
import nbclient, nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=120).execute()
print(notebook.cells[-1].outputs[-1]["text"])
"""


def executed(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "RAYFORM_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_steps_of_a_notebook_return_what_plain_calls_return(tmp_path: Path) -> None:
    """In a Jupyter kernel, classes of cells are parameters and outputs, and workers pickle them and pass them on."""
    assert "the same" in executed(tmp_path, "-c", EXECUTE, str(NOTEBOOK))


@pytest.mark.timeout(180)
def test_steps_without_a_file_return_what_plain_calls_return(tmp_path: Path) -> None:
    """The same holds for code that `python -c` runs."""
    import json

    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert executed(tmp_path, "-c", code).endswith("the same\n")
