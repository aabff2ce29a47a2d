"""The error tree: texts, neighbours, exit codes, travel between processes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core import errors


def test_an_error_reads_as_what_happened_why_and_what_next() -> None:
    """The text joins message, cause and next step, in that order."""
    error = errors.RayformError("A failed.", why="B broke.", hint="Fix B.")
    assert str(error) == "A failed. B broke. Fix B."


def test_not_found_names_the_nearest_neighbours() -> None:
    """The error about a misspelt name has the names that look like it."""
    error = errors.NotFoundError("stack", "defualt", known=["prod", "default"])
    assert "There is no stack 'defualt'." in str(error)
    assert "'default'" in str(error)
    assert error.exit_code == 3


def test_not_found_without_a_neighbour_lists_what_there_is() -> None:
    """If no name looks like it, the error lists some of those that exist."""
    assert "There is: 'prod'." in str(errors.NotFoundError("stack", "zzzzzz", known=["prod"]))


def _all_errors() -> list[type[errors.RayformError]]:
    return [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
    ]


@pytest.mark.parametrize("cls", _all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling_with_all_it_carries(cls: type[errors.RayformError]) -> None:
    """An error raised in a worker process arrives with its class, text, cause and next step."""
    error = (
        errors.NotFoundError("run", "a", known=["b"], why="w.")
        if cls is errors.NotFoundError
        else cls("m.", why="w.", hint="h.")
    )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def test_each_branch_of_the_tree_has_its_own_exit_code() -> None:
    """No two direct branches share an exit code, except for the root and a failed pipeline."""
    codes = [
        cls.exit_code for cls in errors.RayformError.__subclasses__() if cls.__module__ == errors.__name__
    ]
    assert len(set(codes)) == len(codes)
    assert errors.PipelineFailedError.exit_code == errors.RayformError.exit_code == 1


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=20))
def test_nearest_returns_only_candidates(name: str, candidates: list[str]) -> None:
    """Whatever the name, the nearest are among the candidates, without repeats."""
    names = errors.nearest(name, candidates)
    assert set(names) <= set(candidates)
    assert len(names) == len(set(names)) <= 3


def test_not_found_shows_hostile_names_harmlessly() -> None:
    """Control characters are written out, endless names are cut, and the place follows the name."""
    text = str(errors.NotFoundError("step", "\x1b[2J\n" + "x" * 5000, within="in run 'r'"))
    assert text.startswith(r"There is no step '\x1b[2J\nxxx")
    assert text.endswith("xxx…' in run 'r'.")
    assert len(text) < 400
