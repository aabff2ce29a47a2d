"""Edits between two runs of real projects: a step whose result the code would no longer give runs again."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

Files = dict[str, str]

_seconds = itertools.count()


class Project:
    """A project on disk whose pipeline is run by `python run.py`, each time in a new process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.home = folder / "home"

    def write(self, files: Files) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
            # Python overlooks an edit of the same length in the same second: each write has a second of its own.
            os.utime(path, ns=(time.time_ns() - 10**12 + next(_seconds) * 10**9,) * 2)

    def run(self, *arguments: str) -> dict[str, str]:
        """Run the pipeline; return each step's status, and its value as text after a colon."""
        done = subprocess.run(
            [sys.executable, "run.py", *arguments],
            cwd=self.folder,
            env={**os.environ, "RAYFORM_HOME": str(self.home), "RAYFORM_PROGRESS": "plain"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.output = done.stderr + done.stdout
        result: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return result


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with a home of its own."""
    return Project(tmp_path)


RUN = """
import json, sys
from pipelines import main
if __name__ == "__main__":
    run = main.with_options(**json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}"))()
    print(json.dumps({key: f"{step.status}:{step.output.load()}" for key, step in run.steps.items()}))
"""

EDITS: dict[str, tuple[Files, Files, str]] = {
    "a plugin that is imported by a computed name": (
        {
            "pipelines.py": """
                import importlib
                from rayform import pipeline, step
                @step
                def read(kind: str = "csv") -> int:
                    return importlib.import_module("plugins." + kind).value()
                @pipeline
                def main() -> None:
                    read()
            """,
            "plugins/csv.py": "def value():\n    return 1\n",
        },
        {"plugins/csv.py": "def value():\n    return 2\n"},
        "read",
    ),
    "what follows a call of the pipeline that a condition skips": (
        {
            "pipelines.py": """
                import os
                from rayform import pipeline, step
                STATE = {}
                def prepare():
                    STATE["value"] = 1
                @step
                def read() -> int:
                    return STATE["value"]
                @pipeline
                def main() -> None:
                    read()
                if os.environ.get("NEVER_SET"):
                    main()
                prepare()
            """,
        },
        {
            "pipelines.py": """
                import os
                from rayform import pipeline, step
                STATE = {}
                def prepare():
                    STATE["value"] = 2
                @step
                def read() -> int:
                    return STATE["value"]
                @pipeline
                def main() -> None:
                    read()
                if os.environ.get("NEVER_SET"):
                    main()
                prepare()
            """,
        },
        "read",
    ),
    "a class that a library keeps in a registry": (
        {
            "pipelines.py": """
                import models
                from rayform import pipeline, step
                @step
                def read() -> int:
                    (mapper,) = models.Base.registry.mappers
                    return mapper.class_().value()
                @pipeline
                def main() -> None:
                    read()
            """,
            "models.py": """
                from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
                class Base(DeclarativeBase):
                    pass
                class Row(Base):
                    __tablename__ = "rows"
                    id: Mapped[int] = mapped_column(primary_key=True)
                    def value(self):
                        return read()
                def read():
                    return 1
            """,
        },
        {
            "models.py": """
                from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
                class Base(DeclarativeBase):
                    pass
                class Row(Base):
                    __tablename__ = "rows"
                    id: Mapped[int] = mapped_column(primary_key=True)
                    def value(self):
                        return read()
                def read():
                    return 2
            """,
        },
        "read",
    ),
    "a method of an input's class": (
        {
            "pipelines.py": """
                from orders import make
                from rayform import pipeline, step
                @step
                def bill(order) -> int:
                    return order.total()
                @pipeline
                def main() -> None:
                    bill(make())
            """,
            "orders.py": """
                from entities import Order
                from rayform import step
                @step
                def make() -> Order:
                    return Order(4)
            """,
            "entities.py": """
                from dataclasses import dataclass
                @dataclass
                class Order:
                    amount: int
                    def total(self):
                        return self.amount * 2
            """,
        },
        {
            "entities.py": """
                from dataclasses import dataclass
                @dataclass
                class Order:
                    amount: int
                    def total(self):
                        return self.amount * 3
            """
        },
        "bill",
    ),
    "a function that a decorator of the project registered": (
        {
            "pipelines.py": """
                import handlers
                from registry import HANDLERS
                from rayform import pipeline, step
                @step
                def apply(kind: str = "double") -> int:
                    return HANDLERS[kind](4)
                @pipeline
                def main() -> None:
                    apply()
            """,
            "registry.py": """
                HANDLERS = {}
                def register(name):
                    return lambda function: HANDLERS.setdefault(name, function)
            """,
            "handlers.py": """
                from registry import register
                @register("double")
                def anything(value):
                    return value * 2
            """,
        },
        {
            "handlers.py": """
                from registry import register
                @register("double")
                def anything(value):
                    return value * 20
            """
        },
        "apply",
    ),
    "a user's materializer": (
        {
            "pipelines.py": """
                from storing import Text, TextMaterializer
                from rayform import pipeline, step
                @step(output_materializers=TextMaterializer)
                def make() -> Text:
                    return Text("a")
                @step
                def show(text: Text) -> str:
                    return text.value
                @pipeline
                def main() -> None:
                    show(make())
            """,
            "storing.py": """
                from rayform.materializers import Materializer
                class Text:
                    def __init__(self, value):
                        self.value = value
                    def __str__(self):
                        return self.value
                class TextMaterializer(Materializer):
                    ASSOCIATED_TYPES = (Text,)
                    def save(self, value, folder):
                        (folder / "text").write_text(value.value)
                    def load(self, folder, kind):
                        return Text((folder / "text").read_text())
            """,
        },
        {
            "storing.py": """
                from rayform.materializers import Materializer
                class Text:
                    def __init__(self, value):
                        self.value = value
                    def __str__(self):
                        return self.value
                class TextMaterializer(Materializer):
                    ASSOCIATED_TYPES = (Text,)
                    def save(self, value, folder):
                        (folder / "text").write_text(value.value * 2)
                    def load(self, folder, kind):
                        return Text((folder / "text").read_text())
            """
        },
        "make",
    ),
    "a file of cache_files": (
        {
            "pipelines.py": """
                from pathlib import Path
                from rayform import pipeline, step
                @step(cache_files=["data/*.txt"])
                def read() -> int:
                    return len(Path("data/a.txt").read_text())
                @pipeline
                def main() -> None:
                    read()
            """,
            "data/a.txt": "abc",
        },
        {"data/a.txt": "abcd"},
        "read",
    ),
    "a package that imports its own modules": (
        {
            "pipelines.py": "from package import main\n",
            "package/__init__.py": "from . import steps\nfrom .steps import main\n",
            "package/steps.py": """
                from rayform import pipeline, step
                from . import numbers
                @step
                def one() -> int:
                    return numbers.ONE
                @pipeline
                def main() -> None:
                    one()
            """,
            "package/numbers.py": "ONE = 1\n",
        },
        {"package/numbers.py": "ONE = 2\n"},
        "one",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_never_served_from_the_cache(project: Project, name: str) -> None:
    """An unchanged project is cached whole; after the edit the step runs again."""
    files, edit, step = EDITS[name]
    project.write({"run.py": RUN, **files})
    first = project.run()
    assert {status.partition(":")[0] for status in first.values()} == {"completed"}
    second = project.run()
    assert {status.partition(":")[0] for status in second.values()} == {"cached"}
    project.write(edit)
    third = project.run()
    assert third[step].startswith("completed:")
    assert third[step] != first[step] or step == "make"


def test_explain_cache_names_file_and_function(project: Project) -> None:
    """`--explain-cache` says which function of which file has changed."""
    project.write(
        {
            "flow.py": """
                from rayform import pipeline, step
                from helpers import scale
                @step
                def work() -> int:
                    return scale(2)
                @pipeline
                def main() -> None:
                    work()
            """,
            "helpers.py": "def scale(value):\n    return value * 2\n\n\ndef other():\n    return 1\n",
        }
    )
    command = [sys.executable, "-m", "rayform.cli", "run", "flow.py", "--explain-cache"]
    environment = {**os.environ, "RAYFORM_HOME": str(project.home), "RAYFORM_PROGRESS": "plain"}

    def run() -> str:
        done = subprocess.run(
            command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    run()
    project.write({"helpers.py": "def scale(value):\n    return value * 3\n\n\ndef other():\n    return 1\n"})
    assert "'scale' in helpers.py" in run()


def test_a_cached_step_gives_its_metadata_to_a_new_model_version(project: Project) -> None:
    """`log_metadata` for a model is repeated for the model version of a run that takes the step from the cache."""
    project.write(
        {
            "run.py": """
                import json
                from rayform import Client, Model, log_metadata, pipeline, step
                @step
                def train() -> int:
                    log_metadata({"acc": 0.1}, infer_model=True)
                    return 1
                @pipeline(model=Model("digits"))
                def main() -> None:
                    train()
                if __name__ == "__main__":
                    run = main()
                    versions = Client().list_model_versions("digits")
                    print(json.dumps({"status": str(run.steps["train"].status),
                                      "metadata": [dict(v.run_metadata) for v in versions]}))
            """
        }
    )
    project.run()
    second = project.run()
    assert second["status"] == "cached"
    assert second["metadata"] == [{"acc": 0.1}, {"acc": 0.1}]
