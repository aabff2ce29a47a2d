"""The cache never serves what the code no longer says: every line that a step ran is changed in turn.

Each small project is run once in a process of its own with a trace of its lines, imports included. Then each line that
was run is changed so that it means something else, and the digest of the step's code, or one of the files that the run
recorded as loaded, must differ. Lines of functions that the step never entered are changed as well: most of these
changes must leave the cache as it was.
"""

from __future__ import annotations

import ast
import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from support.cache_projects import PROJECTS, SmallProject

PROGRAM = Path(__file__).parents[2] / "support" / "cache_trace.py"


def changes(source: str) -> Iterator[tuple[int, str]]:
    """Give each change of one node of a module that means something else, with the line it is on."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    guarded = {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for part in [node.test, *node.body]
        for inner in ast.walk(part)
    }
    nodes = list(ast.walk(tree))
    for index, node in enumerate(nodes):
        if id(node) in docstrings or id(node) in guarded:
            continue
        for line, mutate in mutations(node):
            if ".with_options(" in source.splitlines()[line - 1]:
                continue  # how a pipeline runs changes no result of a step
            changed = copy.deepcopy(tree)
            mutate(list(ast.walk(changed))[index])
            yield line, ast.unparse(changed)


def mutations(node: ast.AST):
    """Give the ways to change one node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node.lineno, lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield node.lineno, lambda n: setattr(n, "value", n.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, lambda n: setattr(n, "value", n.value + "x")
    elif isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Add | ast.Mult | ast.Sub | ast.Pow | ast.Div | ast.Mod
    ):
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield node.lineno, lambda n: setattr(n, "op", other)
    elif isinstance(node, ast.Compare):
        other_test = ast.NotEq() if isinstance(node.ops[0], ast.Eq) else ast.Eq()
        yield node.lineno, lambda n: setattr(n, "ops", [other_test, *n.ops[1:]])
    elif isinstance(node, ast.Return) and node.value is not None:
        yield node.lineno, lambda n: setattr(n, "value", ast.Constant(None))
    elif isinstance(node, ast.Call) and not node.keywords and len(node.args) > 1:
        yield node.lineno, lambda n: n.args.reverse()


def traced(project: SmallProject, folder: Path) -> dict[str, list]:
    """Run the step once; return the lines that it ran, by file, and the files that it loaded."""
    for name, text in project.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), project.step, project.arguments, "trace"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class Digests:
    """A process that knows the step and says its digest after each change of a file."""

    def __init__(self, project: SmallProject, folder: Path, recorded: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), project.step, project.arguments, "digest", *recorded],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.number = 0

    def now(self) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def entered_functions(source: str, lines: set[int]) -> set[int]:
    """Return all lines of the functions of which a line below the definition was run."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
            if lines & set(body):
                inside |= set(range(node.lineno, body.stop))
    return inside


@dataclass
class Outcome:
    """What became of the changes of one project: `stale` must stay empty."""

    stale: list[str] = field(default_factory=list)
    hits: int = 0
    missed: list[str] = field(default_factory=list)


def outcome_of(project: SmallProject, folder: Path) -> Outcome:
    """Run the step once, then change one line after the other and compare."""
    facts = traced(project, folder)
    digests = Digests(project, folder, facts["loaded"])
    outcome = Outcome()
    try:
        before = digests.now()
        assert before
        for file, source in project.files.items():
            ran = set(facts["lines"].get(file, ()))
            entered = entered_functions(source, ran)
            for line, changed in changes(source):
                (folder / file).write_text(changed)
                is_same = digests.now() == before
                place = f"{file}:{line}: {source.splitlines()[line - 1]}"
                if line in ran and is_same:
                    outcome.stale.append(place)
                elif line not in ran and line not in entered:
                    outcome.hits += is_same
                    outcome.missed += [] if is_same else [place]
            (folder / file).write_text(source)
        assert digests.now() == before
    finally:
        digests.process.kill()
        digests.process.communicate()
    return outcome


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Outcome]:
    """The outcome of a project by its name; each project is run once."""
    return cache(lambda name: outcome_of(PROJECTS[name], tmp_path_factory.mktemp("project")))


@pytest.mark.parametrize("name", PROJECTS)
def test_each_line_that_ran_counts(outcomes: Callable[[str], Outcome], name: str) -> None:
    """A change of any line that the step ran, imports included, misses the cache."""
    assert outcomes(name).stale == []


def test_changes_elsewhere_mostly_hit(outcomes: Callable[[str], Outcome]) -> None:
    """Nine of ten changes of code that no step touched are served from the cache, where names can be followed."""
    found = {name: outcomes(name) for name in PROJECTS if not PROJECTS[name].counts_whole_modules}
    hits = sum(outcome.hits for outcome in found.values())
    missed = {name: outcome.missed for name, outcome in found.items() if outcome.missed}
    assert hits / (hits + sum(map(len, missed.values()))) >= 0.9, missed
