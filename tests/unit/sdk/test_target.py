"""`rayform run FILE_OR_MODULE[:PIPELINE]` finds its pipeline, wherever the file lies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayform.launching.target import find_pipeline
from rayform_core.errors import NotFoundError, RayformError, UsageError

ONE = """
from rayform import pipeline, step
@step
def one() -> int:
    return 1
@pipeline
def {name}() -> None:
    one()
"""


@pytest.fixture(autouse=True)
def clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test imports its own files afresh."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_only_pipeline_of_a_file_is_found(tmp_path: Path) -> None:
    """A file with one pipeline needs no name."""
    (tmp_path / "job_a.py").write_text(ONE.format(name="only"))
    assert find_pipeline(str(tmp_path / "job_a.py")).name == "only"


def test_several_pipelines_need_a_name(tmp_path: Path) -> None:
    """With several pipelines the error lists them, and a name chooses one."""
    (tmp_path / "job_b.py").write_text(ONE.format(name="first") + ONE.format(name="second"))
    with pytest.raises(UsageError, match="2 pipelines: first, second"):
        find_pipeline("job_b.py")
    assert find_pipeline("job_b.py:second").name == "second"
    with pytest.raises(NotFoundError, match="Did you mean 'second'"):
        find_pipeline("job_b.py:secnd")


def test_a_pipeline_that_a_file_imports_counts_where_it_has_none(tmp_path: Path) -> None:
    """`run.py` may import its pipelines from a module next to it."""
    (tmp_path / "job_pipes.py").write_text(ONE.format(name="imported"))
    (tmp_path / "job_c.py").write_text("from job_pipes import imported\n")
    assert find_pipeline("job_c.py").name == "imported"


def test_a_module_is_found_by_its_name(tmp_path: Path) -> None:
    """A package's module is found from the working folder."""
    (tmp_path / "job_package").mkdir()
    (tmp_path / "job_package" / "__init__.py").write_text("")
    (tmp_path / "job_package" / "helper.py").write_text("NAME = 'x'\n")
    (tmp_path / "job_package" / "flows.py").write_text(
        "from .helper import NAME\n" + ONE.format(name="inside")
    )
    assert find_pipeline("job_package.flows:inside").name == "inside"
    assert find_pipeline("job_package/flows.py").entrypoint.__module__ == "job_package.flows"


def test_the_guarded_block_is_not_run(tmp_path: Path) -> None:
    """What stands under `if __name__ == "__main__"` is for `python file.py`."""
    text = ONE.format(name="guarded") + "if __name__ == '__main__':\n    raise SystemExit(3)\n"
    (tmp_path / "job_d.py").write_text(text)
    assert find_pipeline("job_d.py").name == "guarded"


def test_a_script_that_calls_its_pipeline_is_loaded_without_running_it(tmp_path: Path) -> None:
    """A pipeline call at the top level ends the loading, and nothing runs."""
    (tmp_path / "job_e.py").write_text(ONE.format(name="called") + "called()\nraise SystemExit(3)\n")
    assert find_pipeline("job_e.py").name == "called"


def test_code_that_fails_to_load_shows_its_own_frames(tmp_path: Path) -> None:
    """What a file's top level raises is shown with the user's frames, and none of Rayform's."""
    (tmp_path / "job_broken.py").write_text("def f():\n    raise ValueError('as meant')\nf()\n")
    with pytest.raises(RayformError, match="'job_broken.py' can't be loaded") as caught:
        find_pipeline("job_broken.py")
    text = str(caught.value)
    assert "in f\n" in text and "ValueError: as meant" in text and "finding.py" not in text
    (tmp_path / "job_syntax.py").write_text("def f(:\n")
    with pytest.raises(RayformError, match="SyntaxError"):
        find_pipeline("job_syntax.py")


def test_a_file_named_like_a_standard_module_is_loaded(tmp_path: Path) -> None:
    """`json.py` or `my-flow.py` run like any other file."""
    (tmp_path / "json.py").write_text(ONE.format(name="odd"))
    (tmp_path / "my-flow.py").write_text(ONE.format(name="dashed"))
    assert find_pipeline("./json.py").name == "odd"
    assert find_pipeline("my-flow.py").name == "dashed"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("job_gone.py", "no file 'job_gone.py'. Did you mean .*'job_here.py'"),
        ("job_gone", "no file or module 'job_gone'"),
        ("folder", "is a folder"),
        ("job_none.py", "has no pipeline"),
        ("no.such.module:x", "no file or module"),
    ],
)
def test_a_target_that_does_not_exist_is_refused(tmp_path: Path, target: str, message: str) -> None:
    """Unknown files, modules and empty files are clear errors."""
    (tmp_path / "job_here.py").write_text(ONE.format(name="x"))
    (tmp_path / "job_none.py").write_text("x = 1\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises((NotFoundError, UsageError), match=message):
        find_pipeline(target)
