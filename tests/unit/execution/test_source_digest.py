"""The code digest: which edits must miss the cache and which must hit it."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rayform_runtime.usercode.digest import source_digest, step_code

_names = itertools.count()


class Project:
    """A package on disk whose step is digested again after each edit."""

    def __init__(self, folder: Path) -> None:
        self.name = f"digested_{next(_names)}"
        self.folder = folder / self.name
        self.folder.mkdir()
        (self.folder / "__init__.py").write_text("")

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text.replace("PKG", self.name))
            os.utime(path, ns=(next(_names) * 10**9,) * 2)

    def load(self, module: str = "steps") -> ModuleType:
        for known in [m for m in sys.modules if m.split(".")[0] == self.name]:
            del sys.modules[known]
        importlib.invalidate_caches()
        return importlib.import_module(f"{self.name}.{module}")

    def digest(self, name: str = "step", module: str = "steps") -> str:
        found: Any = getattr(self.load(module), name)
        return source_digest(found)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project on the import path."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Project(tmp_path)


CHANGES = {
    "a helper two modules away": (
        {
            "steps": "from PKG.a import first\ndef step():\n    return first()\n",
            "a": "from PKG import b\ndef first():\n    return b.second()\n",
            "b": "def second():\n    return 1\ndef other():\n    return 1\n",
        },
        {"b": "def second():\n    return 2\ndef other():\n    return 1\n"},
        {"b": "def second():\n    return 1\ndef other():\n    return 2\n"},
    ),
    "a renamed import": (
        {
            "steps": "import PKG.a as z\ndef step():\n    return z.f()\n",
            "a": "X = 1\ndef f():\n    return X\ndef g():\n    return 1\n",
        },
        {"a": "X = 2\ndef f():\n    return X\ndef g():\n    return 1\n"},
        {"a": "X = 1\ndef f():\n    return X\ndef g():\n    return 2\n"},
    ),
    "an import by its dotted name": (
        {
            "steps": "import PKG.a\nimport PKG.b\ndef step():\n    return PKG.a.f()\n",
            "a": "def f():\n    return 1\n",
            "b": "def f():\n    return 1\n",
        },
        {"a": "def f():\n    return 2\n"},
        {"b": "def f():\n    return 2\n"},
    ),
    "a relative import": (
        {
            "steps": "from .a import f as g\ndef step():\n    return g()\n",
            "a": "def f():\n    return 1\ndef unused():\n    return 1\n",
        },
        {"a": "def f():\n    return 2\ndef unused():\n    return 1\n"},
        {"a": "def f():\n    return 1\n"},
    ),
    "a star import": (
        {
            "steps": "from PKG.a import *\ndef step():\n    return f()\n",
            "a": "from .b import *\ndef unused():\n    return 1\n",
            "b": "def f():\n    return 1\n",
        },
        {"b": "def f():\n    return 2\n"},
        {"a": "from .b import *\ndef unused():\n    return 2\n"},
    ),
    "a package that hands on a name": (
        {
            "steps": "from PKG import tools\ndef step():\n    return tools.f()\n",
            "tools/__init__": "from .inner import f\nfrom .inner import g\n",
            "tools/inner": "def f():\n    return 1\ndef g():\n    return 1\n",
        },
        {"tools/inner": "def f():\n    return 2\ndef g():\n    return 1\n"},
        {"tools/inner": "def f():\n    return 1\ndef g():\n    return 2\n"},
    ),
    "an import inside of the function": (
        {
            "steps": "def step():\n    from PKG.a import f\n    import PKG.b as h\n    return f() + h.f()\n",
            "a": "def f():\n    return 1\n",
            "b": "def f():\n    return 1\ndef g():\n    return 1\n",
        },
        {"b": "def f():\n    return 2\ndef g():\n    return 1\n"},
        {"b": "def f():\n    return 1\ndef g():\n    return 2\n"},
    ),
    "a method of a class that it makes": (
        {
            "steps": "from .a import Net\ndef step():\n    return Net().fit()\n",
            "a": "from .b import Base\nclass Net(Base):\n    pass\nclass Other:\n    def x(self): return 1\n",
            "b": "class Base:\n    def fit(self):\n        return 1\n",
        },
        {"b": "class Base:\n    def fit(self):\n        return 2\n"},
        {"a": "from .b import Base\nclass Net(Base):\n    pass\nclass Other:\n    def x(self): return 2\n"},
    ),
    "a decorator": (
        {
            "steps": "from .a import wrap\n@wrap\ndef step():\n    return 1\n",
            "a": "def wrap(f):\n    return f\ndef other(f):\n    return f\n",
        },
        {"a": "def wrap(f):\n    print(1)\n    return f\ndef other(f):\n    return f\n"},
        {"a": "def wrap(f):\n    return f\ndef other(f):\n    return 1\n"},
    ),
    "a module constant and what changes it": (
        {
            "steps": "from .a import SETTINGS\ndef step():\n    return SETTINGS\n",
            "a": "SETTINGS = {}\nSETTINGS.update(a=1)\nSETTINGS['b'] = 1\ndef other():\n    SETTINGS['b'] = 1\n",
        },
        {
            "a": "SETTINGS = {}\nSETTINGS.update(a=2)\nSETTINGS['b'] = 1\ndef other():\n    SETTINGS['b'] = 1\n"
        },
        {
            "a": "SETTINGS = {}\nSETTINGS.update(a=1)\nSETTINGS['b'] = 1\ndef other():\n    SETTINGS['b'] = 2\n"
        },
    ),
    "a nested function": (
        {
            "steps": "from .a import f\ndef step():\n    def inner():\n        return f()\n    return inner()\n",
            "a": "def f():\n    return 1\n",
            "b": "def f():\n    return 1\n",
        },
        {"a": "def f():\n    return 2\n"},
        {"b": "def f():\n    return 2\n"},
    ),
    "a module taken as a value": (
        {
            "steps": "from PKG import a\ndef step(name='f'):\n    return getattr(a, name)()\n",
            "a": "from .b import h\ndef f():\n    return 1\ndef g():\n    return h()\n",
            "b": "def h():\n    return 1\ndef i():\n    return 1\n",
        },
        {"b": "def h():\n    return 2\ndef i():\n    return 1\n"},
        {"b": "def h():\n    return 1\ndef i():\n    return 2\n"},
    ),
    "a registry that functions enter": (
        {
            "steps": "from .a import HANDLERS\ndef step(k='x'):\n    return HANDLERS.all[k]()\n",
            "a": "class R:\n    all = {}\n    def add(self, f):\n        self.all[f.__name__] = f\n        return f\n"
            "HANDLERS = R()\n@HANDLERS.add\ndef x():\n    return 1\ndef y():\n    return 1\n",
        },
        {
            "a": "class R:\n    all = {}\n    def add(self, f):\n        self.all[f.__name__] = f\n        return f\n"
            "HANDLERS = R()\n@HANDLERS.add\ndef x():\n    return 2\ndef y():\n    return 1\n",
        },
        {
            "a": "class R:\n    all = {}\n    def add(self, f):\n        self.all[f.__name__] = f\n        return f\n"
            "HANDLERS = R()\n@HANDLERS.add\ndef x():\n    return 1\ndef y():\n    return 2\n",
        },
    ),
    "its own module": (
        {
            "steps": "import os\nN = 1\ndef helper():\n    return N\ndef step():\n    return helper()\n"
            "def unrelated():\n    return 1\nif __name__ == '__main__':\n    step()\n",
        },
        {
            "steps": "import os\nN = 2\ndef helper():\n    return N\ndef step():\n    return helper()\n"
            "def unrelated():\n    return 1\nif __name__ == '__main__':\n    step()\n",
        },
        {
            "steps": "import os\nN = 1\n\n# a comment\ndef helper():\n    return N  # more\n\n\ndef step():\n"
            "    return (helper())\ndef unrelated():\n    return 2\nif __name__ == '__main__':\n    step(1)\n",
        },
    ),
    "a name that a local one hides": (
        {
            "steps": "from .a import *\ndef step(f=1):\n    g = 2\n    return [h for h in (f, g)]\n",
            "a": "def f():\n    return 1\ndef g():\n    return 1\ndef h():\n    return 1\n",
        },
        {"steps": "from .a import *\ndef step(f=1):\n    g = 3\n    return [h for h in (f, g)]\n"},
        {"a": "def f():\n    return 2\ndef g():\n    return 2\ndef h():\n    return 2\n"},
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_reached_code_counts_and_other_code_does_not(project: Project, case: str) -> None:
    """An edit in code that the step reaches changes the digest, and an edit elsewhere doesn't."""
    before, reached, elsewhere = CHANGES[case]
    project.write(**before)
    digest = project.digest()
    project.write(**{**before, **elsewhere})
    assert project.digest() == digest, "an edit elsewhere changed the digest"
    project.write(**{**before, **reached})
    assert project.digest() != digest, "an edit in reached code left the digest as it was"


def test_dynamic_import_counts_whole(project: Project) -> None:
    """A module that `importlib.import_module` names counts with all that it holds."""
    project.write(
        steps="import importlib\ndef step():\n    return importlib.import_module('PKG.a').f()\n", a="x = 1\n"
    )
    digest = project.digest()
    project.write(a="x = 2\n")
    assert project.digest() != digest


def test_globals_counts_whole_module(project: Project) -> None:
    """A function that reads `globals()` depends on its whole module."""
    project.write(steps="x = 1\ndef step():\n    return globals()['x']\n")
    digest = project.digest()
    project.write(steps="x = 2\ndef step():\n    return globals()['x']\n")
    assert project.digest() != digest


def test_closure_values_count(project: Project) -> None:
    """Two functions made by one factory with different values have different digests."""
    project.write(
        steps="def make(n):\n    def inner():\n        return n\n    return inner\none = make(1)\ntwo = make(2)\n"
        "uno = make(1)\n"
    )
    module = project.load()
    assert source_digest(module.one) != source_digest(module.two)
    assert source_digest(module.one) == source_digest(module.uno)


def test_same_code_elsewhere_gives_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checkouts of one project agree, so that a team shares its cache."""
    digests = []
    for folder in ("one", "two"):
        place = tmp_path / folder / "shared_project"
        place.mkdir(parents=True)
        (place / "__init__.py").write_text("")
        (place / "steps.py").write_text("from .helper import f\ndef step():\n    return f()\n")
        (place / "helper.py").write_text("def f():\n    return 1\n")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(place.parent))
            for known in [m for m in sys.modules if m.split(".")[0] == "shared_project"]:
                del sys.modules[known]
            digests.append(source_digest(importlib.import_module("shared_project.steps").step))
    assert digests[0] == digests[1]


def test_built_in_modules_in_a_notebook_are_no_obstacle() -> None:
    """`sys`, `time` and namespace packages come from no file, and a step without a file may name them."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("import sys, time, itertools\ndef step(): return time.time, sys.path, itertools.chain", space)
    space["nowhere"] = ModuleType("nowhere")
    space["nowhere"].__file__ = None
    exec("def other(): return nowhere, time", space)
    assert source_digest(space["step"]) != source_digest(space["other"])


def test_function_without_file_digests_its_source_or_bytecode() -> None:
    """The digest of a function from a notebook cell or `exec` covers its code and the code that it calls."""

    def make(body: str) -> Any:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(body, space)
        return space["step"]

    first = source_digest(make("def helper():\n    return 1\ndef step():\n    return helper()\n"))
    again = source_digest(make("def helper():\n    return 1\ndef step():\n    return helper()\n"))
    other = source_digest(make("def helper():\n    return 2\ndef step():\n    return helper()\n"))
    assert first == again
    assert first != other


def test_parts_name_what_counts(project: Project) -> None:
    """The parts of a step's code are the names that it reaches, and no library's."""
    project.write(
        steps="import json\nfrom .a import f\ndef step():\n    return json.dumps(f())\n",
        a="def f():\n    return 1\n",
    )
    code = step_code(project.load().step)
    reached = {"__init__": ["<import>"], "a": ["<import>", "f"], "steps": ["<import>", "f", "json", "step"]}
    places = [f"{project.name}/{file}.py:{name}" for file, names in reached.items() for name in names]
    assert list(code.parts) == sorted(places)
