"""Small projects, each with an idiom of its own: which lines a step runs is known only when it has run.

Each has the texts of its files by path, the module and name of its step, and an expression for the step's arguments, in
which `load("module")` imports one of the project's modules.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROJECTS", "SmallProject"]


@dataclass(frozen=True)
class SmallProject:
    """A project: `files` by path, `step` as `module:name`, and the source of its arguments.

    `counts_whole_modules` says that its names can't be followed, so that changes of unused code miss too.
    """

    files: dict[str, str]
    step: str
    arguments: str = "()"
    counts_whole_modules: bool = False


UNUSED = """

def never_called(value):
    total = value * 3
    if total > 10:
        return "large"
    return total - 1


class NeverMade:
    def area(self):
        return self.width * 2 + 1

    def label(self):
        return "never" + str(self.area())
"""
"""What no step of any project touches; most files end with it."""

PROJECTS: dict[str, SmallProject] = {
    "flat modules": SmallProject(
        {
            "steps.py": """
from rayform import step
from helpers import scale
import settings

LIMIT = settings.BASE * 2


@step
def clean(rows: int = 4) -> int:
    kept = 0
    for row in range(rows):
        if row % 2 == 0:
            kept += scale(row)
    return min(kept, LIMIT)


@step
def other(rows: int = 4) -> int:
    return rows + 17
"""
            + UNUSED,
            "helpers.py": """
FACTOR = 3


def scale(value):
    return value * FACTOR + offset()


def offset():
    return 1
"""
            + UNUSED,
            "settings.py": "BASE = 21\nNAMES = ['a', 'b']\nfor name in NAMES:\n    BASE += len(name)\n"
            + UNUSED,
        },
        "steps:clean",
    ),
    "registry by a decorator of the project": SmallProject(
        {
            "app/__init__.py": "",
            "app/registry.py": """
HANDLERS = {}


def register(name):
    def keep(function):
        HANDLERS[name] = function
        return function

    return keep
"""
            + UNUSED,
            "app/handlers.py": """
from app.registry import register


@register("double")
def anything(value):
    return value * 2


@register("square")
def something(value):
    return value**2
"""
            + UNUSED,
            "app/steps.py": """
import app.handlers
from app.registry import HANDLERS
from rayform import step


@step
def apply(kind: str = "double", value: int = 4) -> int:
    return HANDLERS[kind](value)
"""
            + UNUSED,
        },
        "app.steps:apply",
    ),
    "registry by __init_subclass__": SmallProject(
        {
            "shapes/__init__.py": "from shapes.base import Shape\nfrom . import circle, square\n",
            "shapes/base.py": """
class Shape:
    known = {}

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Shape.known[cls.__name__.lower()] = cls

    def area(self, size):
        return 0
"""
            + UNUSED,
            "shapes/circle.py": """
from shapes.base import Shape


class Circle(Shape):
    def area(self, size):
        return size * 3
"""
            + UNUSED,
            "shapes/square.py": """
from shapes.base import Shape


class Square(Shape):
    def area(self, size):
        return size * size
"""
            + UNUSED,
            "steps.py": """
from rayform import step
from shapes import Shape


@step
def measure(kind: str = "square", size: int = 5) -> int:
    return Shape.known[kind]().area(size)
""",
        },
        "steps:measure",
    ),
    "namespace package": SmallProject(
        {
            "ns/sub/maths.py": """
import ns.sub.deep.more

STEP = 4


def add(value):
    return value + STEP + ns.sub.deep.more.extra(value)
"""
            + UNUSED,
            "ns/sub/deep/more.py": "def extra(value):\n    return value % 7\n" + UNUSED,
            "work.py": """
import ns.sub.maths
from rayform import step


@step
def total(value: int = 3) -> int:
    return ns.sub.maths.add(value)
"""
            + UNUSED,
        },
        "work:total",
    ),
    "a module named like one of the standard library": SmallProject(
        {
            "statistics.py": "def mean(values):\n    return sum(values) / len(values) + 0.5\n" + UNUSED,
            "calendar.py": "HOLIDAYS = {3, 5}\n\n\ndef is_open(day):\n    return day not in HOLIDAYS\n"
            + UNUSED,
            "steps.py": """
from rayform import step


@step
def average(days: int = 7) -> float:
    import calendar
    from statistics import mean

    return mean([day for day in range(days) if calendar.is_open(day)])
"""
            + UNUSED,
        },
        "steps:average",
    ),
    "plugins imported by a computed name": SmallProject(
        {
            "plugins/__init__.py": "",
            "plugins/csv_reader.py": """
from plugins_common import tidy

SEPARATOR = ";"


def read(text):
    return tidy(text.split(SEPARATOR))
"""
            + UNUSED,
            "plugins/json_reader.py": "def read(text):\n    return [text]\n" + UNUSED,
            "plugins_common.py": "def tidy(parts):\n    return [part.strip() for part in parts if part]\n"
            + UNUSED,
            "steps.py": """
import importlib

from rayform import step


@step
def read(kind: str = "csv", text: str = "a; b;c") -> list:
    module = importlib.import_module(f"plugins.{kind}_reader")
    return module.read(text)
"""
            + UNUSED,
        },
        "steps:read",
    ),
    "a name made of parts": SmallProject(
        {
            "names.py": """
CONFIGURED = "tools_" + "inner"


def inner_name():
    return CONFIGURED
""",
            "tools_inner.py": """
WEIGHT = 2


def compute(value):
    return value * WEIGHT
"""
            + UNUSED,
            "steps.py": """
from names import inner_name
from rayform import step


@step
def weigh(value: int = 4) -> int:
    return getattr(__import__(inner_name()), "compute")(value)
"""
            + UNUSED,
        },
        "steps:weigh",
    ),
    "set up at the top level with global": SmallProject(
        {
            "engine.py": """
OPTIONS = {"depth": 3}
_depth = None
_calls = []


def init(options):
    global _depth
    _depth = options["depth"] + 1
    _calls.append("init")


def run(value):
    return value * _depth + len(_calls)


init(OPTIONS)
"""
            + UNUSED,
            "patches.py": "import engine\n\nengine.OPTIONS['depth'] = 9\nengine.init(engine.OPTIONS)\n",
            "steps.py": """
import patches
from engine import run
from rayform import step


@step
def go(value: int = 2) -> int:
    return run(value)
"""
            + UNUSED,
        },
        "steps:go",
    ),
    "a method of an input's class": SmallProject(
        {
            "entities.py": """
from dataclasses import dataclass

from pricing import net


@dataclass
class Order:
    amount: int
    tax: float = 0.2

    def total(self):
        return net(self.amount) * (1 + self.tax)


def unrelated(value):
    return value * 5
""",
            "pricing.py": "DISCOUNT = 3\n\n\ndef net(amount):\n    return amount - DISCOUNT\n" + UNUSED,
            "steps.py": """
from rayform import step


@step
def bill(order) -> float:
    return order.total()
"""
            + UNUSED,
        },
        "steps:bill",
        "(load('entities').Order(10),)",
    ),
    "a package that hands on names": SmallProject(
        {
            "lib/__init__.py": "from . import helpers, numbers as figures\nfrom .helpers import *\n"
            "from .api import public\n",
            "lib/helpers.py": "from . import numbers\n\n\ndef shift(value):\n    return value + numbers.SHIFT\n"
            + UNUSED,
            "lib/numbers.py": "SHIFT = 11\n" + UNUSED,
            "lib/api.py": """
from .helpers import shift as _shift


def public(value):
    return _shift(value) * 2
"""
            + UNUSED,
            "steps.py": """
from lib import figures, public, shift
from rayform import step


@step
def use(value: int = 1) -> int:
    return public(value) + shift(figures.SHIFT)
"""
            + UNUSED,
        },
        "steps:use",
    ),
    "src layout with a class hierarchy": SmallProject(
        {
            "src/model/__init__.py": "",
            "src/model/base.py": """
class Base:
    rate = 2

    def fit(self, rows):
        return sum(self.score(row) for row in rows)

    def score(self, row):
        return row * self.rate
"""
            + UNUSED,
            "src/model/tree.py": """
from model.base import Base


class Tree(Base):
    depth = 4

    def score(self, row):
        return super().score(row) + self.depth
"""
            + UNUSED,
            "src/train.py": """
from model.tree import Tree
from rayform import pipeline, step


@step
def train(rows: int = 3) -> int:
    return Tree().fit(range(rows))


@pipeline
def training(rows: int = 3):
    train(rows)


nightly = training.with_options(enable_cache=False)

if __name__ == "__main__":
    training(rows=12)
"""
            + UNUSED,
        },
        "train:train",
    ),
    "imports inside functions and a module-level __getattr__": SmallProject(
        {
            "lazy.py": """
def __getattr__(name):
    if name == "FLOOR":
        import floors

        return floors.LOWEST + 1
    raise AttributeError(name)
""",
            "floors.py": "LOWEST = 5\n" + UNUSED,
            "steps.py": """
from rayform import step


@step
def floor(value: int = 2) -> int:
    import lazy

    return max(value, lazy.FLOOR)
"""
            + UNUSED,
        },
        "steps:floor",
    ),
    "dispatch by a table and by getattr": SmallProject(
        {
            "operations.py": """
def op_add(a, b):
    return a + b


def op_mul(a, b):
    return a * b


class Machine:
    def do_push(self, stack, value):
        stack.append(value + 1)

    def do_pop(self, stack, value):
        return stack.pop()

    def run(self, command, stack, value):
        return getattr(self, f"do_{command}")(stack, value)
"""
            + UNUSED,
            "steps.py": """
import operations
from operations import Machine
from rayform import step

TABLE = {"add": operations.op_add, "mul": operations.op_mul}


@step
def compute(kind: str = "mul") -> int:
    stack = []
    Machine().run("push", stack, 5)
    return TABLE[kind](3, stack[-1]) + getattr(operations, "op_" + "add")(1, 2)
""",
        },
        "steps:compute",
    ),
    "metaclass, descriptors and class attributes": SmallProject(
        {
            "fields.py": """
class Field:
    def __set_name__(self, owner, name):
        self.name = name + "_"

    def __get__(self, instance, owner):
        return len(self.name) + 1


class Meta(type):
    def __new__(mcs, name, bases, space):
        space["made"] = name.upper()
        return super().__new__(mcs, name, bases, space)
"""
            + UNUSED,
            "records.py": """
from fields import Field, Meta


class Record(metaclass=Meta):
    size = Field()
    default = 8
"""
            + UNUSED,
            "steps.py": """
from records import Record
from rayform import step


@step
def describe() -> str:
    return Record.made + str(Record.size + Record().default)
"""
            + UNUSED,
        },
        "steps:describe",
    ),
    "a training project without surprises": SmallProject(
        {
            "training/__init__.py": "",
            "training/data.py": """
import csv
import io

HEADER = ["x", "y"]


def rows(count):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for number in range(count):
        writer.writerow([number, number * 2 + 1])
    return text.getvalue()
"""
            + UNUSED,
            "training/features.py": """
import csv


def split(text):
    lines = list(csv.DictReader(text.splitlines()))
    return [float(line["x"]) for line in lines], [float(line["y"]) for line in lines]
"""
            + UNUSED,
            "training/model.py": """
class Line:
    slope = 0.0

    def fit(self, xs, ys, rate=0.01):
        for _ in range(20):
            for x, y in zip(xs, ys):
                self.slope += rate * (y - self.slope * x) * x
        return self


def rounded(value, digits=3):
    return round(value, digits)
"""
            + UNUSED,
            "training/steps.py": """
from rayform import step
from training import data
from training.features import split
from training.model import Line, rounded


@step
def load(count: int = 5) -> str:
    return data.rows(count)


@step
def train(count: int = 5) -> float:
    xs, ys = split(data.rows(count))
    return rounded(Line().fit(xs, ys).slope)


@step
def report(score: float) -> str:
    text = "score " + str(score * 100)
    return text + " %"
"""
            + UNUSED,
        },
        "training.steps:train",
    ),
    "a script without a guard": SmallProject(
        {
            "script.py": """
import functools

from rayform import pipeline, step
from tables import TABLE, names

BATCH = 4


@functools.lru_cache(maxsize=None)
def lookup(key):
    return TABLE[key] + BATCH


@step
def work(key: str = "b") -> int:
    return lookup(key) + len(names())


@step
def finish(total: int) -> str:
    return "total " + str(total + 1)


@pipeline
def nightly(key: str = "b"):
    finish(work(key))
"""
            + UNUSED,
            "tables.py": "TABLE = {'a': 1, 'b': 5}\n\n\ndef names():\n    return sorted(TABLE)\n" + UNUSED,
        },
        "script:work",
    ),
    "an import in a step for its effects": SmallProject(
        {
            "reg.py": """HANDLERS = {}


def register(f):
    HANDLERS[f.__name__] = f
    return f
""",
            "hand/__init__.py": "",
            "hand/ler.py": """
from reg import register


@register
def twice(v):
    return v * 2 + 1
"""
            + UNUSED,
            "steps.py": """
from rayform import step
from reg import HANDLERS


@step
def go() -> int:
    import hand.ler

    return HANDLERS["twice"](3)
""",
        },
        "steps:go",
    ),
    "two imports of one name in a function": SmallProject(
        {
            "fast.py": """def f(v):
    return v * 5 + 1
"""
            + UNUSED,
            "slow.py": """def f(v):
    return v * 6
"""
            + UNUSED,
            "steps.py": """
from rayform import step


@step
def go() -> int:
    try:
        from fast import f
    except ImportError:
        from slow import f
    return f(3)
""",
        },
        "steps:go",
    ),
    "an import in the body of a class": SmallProject(
        {
            "fast.py": """def f(self, v):
    return v * 5 + 1
"""
            + UNUSED,
            "steps.py": """
from rayform import step


class Tool:
    from fast import f


@step
def go() -> int:
    return Tool().f(3)
""",
        },
        "steps:go",
    ),
    "imports and functions in loops and matches": SmallProject(
        {
            "fast.py": """def f(v):
    return v * 5 + 1
"""
            + UNUSED,
            "other.py": """K = 4


def g(v):
    return v - K
"""
            + UNUSED,
            "steps.py": """
import sys

from rayform import step

match sys.byteorder + "z":
    case "nothing":
        f = None
    case _:
        from fast import f

for attempt in range(2):
    import other

    def h(v):
        return other.g(v) + 1


@step
def go() -> int:
    return f(3) + other.g(2) + h(1)
""",
        },
        "steps:go",
    ),
    "code for imports only": SmallProject(
        {
            "conf.py": """
VALUE = 1
if __name__ != "__main__":
    VALUE = 3
    import extra
if __name__ == "__main__":
    print("hi")
else:
    OTHER = extra.make(2)
""",
            "extra.py": """def make(v):
    return v + 4
"""
            + UNUSED,
            "steps.py": """
from rayform import step
import conf


@step
def go() -> int:
    return conf.VALUE + conf.OTHER
""",
        },
        "steps:go",
    ),
    "plugins that a function of another module discovers": SmallProject(
        {
            "app/__init__.py": "",
            "app/discovery.py": """
import importlib
import pkgutil


def load_all(path, name):
    for found in pkgutil.iter_modules(path):
        importlib.import_module(name + "." + found.name)
"""
            + UNUSED,
            "app/reg.py": """ALL = {}


def add(f):
    ALL[f.__name__] = f
    return f
""",
            "app/plugins/__init__.py": """
from ..discovery import load_all

load_all(__path__, __name__)
""",
            "app/plugins/one.py": """from ..reg import add
from .two import TWO


@add
def one(v):
    return v + TWO
"""
            + UNUSED,
            "app/plugins/two.py": "TWO = 2\n",
            "app/steps.py": """
from rayform import step

from . import plugins
from .reg import ALL


@step
def go() -> int:
    return ALL["one"](3)
""",
        },
        "app.steps:go",
        counts_whole_modules=True,
    ),
    "plugins discovered under an alias of import_module": SmallProject(
        {
            "plugins/__init__.py": """
from importlib import import_module as load
from pathlib import Path


def _discover():
    return [load("plugins." + p.stem) for p in sorted(Path(__file__).parent.glob("p_*.py"))]


MODULES = _discover()
""",
            "plugins/p_one.py": """def run(v):
    return v + 2
"""
            + UNUSED,
            "steps.py": """
from plugins import MODULES
from rayform import step


@step
def go() -> int:
    return sum(m.run(1) for m in MODULES)
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "a package used as a value": SmallProject(
        {
            "pkg/__init__.py": "",
            "pkg/sub.py": """def f(v):
    return v + 2
"""
            + UNUSED,
            "pkg/deep/__init__.py": "",
            "pkg/deep/er.py": """def g(v):
    return v * 3
"""
            + UNUSED,
            "steps.py": """
import operator

import pkg.deep.er
import pkg.sub
from rayform import step


@step
def go(what: str = "sub") -> int:
    return operator.attrgetter(what + ".f")(pkg)(1) + getattr(pkg, "de" + "ep").er.g(2)
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "the module itself from sys.modules": SmallProject(
        {
            "tools.py": """
import sys


def f_a(v):
    return v + 2


def call(name, v):
    return getattr(sys.modules[__name__], "f_" + name)(v)


def _make(n):
    def made(v):
        return v + n

    return made


for n in (1, 2):
    setattr(sys.modules[__name__], f"add{n}", _make(n))
"""
            + UNUSED,
            "steps.py": """
import sys

from rayform import step
from tools import add2, call


def here(v):
    return v * 3


@step
def go() -> int:
    return call("a", 1) + add2(3) + sys.modules["steps"].here(1)
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "a file that a step loads as a module": SmallProject(
        {
            "extras/thing.py": """V = 3


def f(v):
    return v + V
"""
            + UNUSED,
            "steps.py": """
import importlib.util
from pathlib import Path

from rayform import step


@step
def go(name: str = "thing") -> int:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "extras" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.f(1)
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "a file that an import loads as a module": SmallProject(
        {
            "extras/thing.py": """V = 3


def f(v):
    return v + V
"""
            + UNUSED,
            "steps.py": """
import importlib.util
from pathlib import Path

from rayform import step


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "extras" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


THING = load("thing")


@step
def go() -> int:
    return THING.f(1)
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "a file that a step runs": SmallProject(
        {
            "job.py": """V = 3
result = V * 2
""",
            "steps.py": """
import runpy
from pathlib import Path

from rayform import step


@step
def go(name: str = "job") -> int:
    return runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))["result"]
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "a module that a step runs": SmallProject(
        {
            "jobs/__init__.py": "",
            "jobs/job.py": """V = 3
result = V * 2
""",
            "steps.py": """
import runpy

from rayform import step


@step
def go(name: str = "job") -> int:
    return runpy.run_module("jobs." + name)["result"]
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "a file that a step executes": SmallProject(
        {
            "conf_a.py": """V = 3
result = V * 2
""",
            "steps.py": """
from pathlib import Path

from rayform import step


@step
def go(name: str = "conf_a") -> int:
    space = {}
    path = Path(__file__).with_name(name + ".py")
    exec(compile(path.read_text(), str(path), "exec"), space)
    return space["result"]
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "a name that a comprehension hides": SmallProject(
        {
            "lib.py": """def scale(v):
    return v * 3


def item(v):
    return v + 4
"""
            + UNUSED,
            "steps.py": """
from lib import item, scale
from rayform import step


@step
def go() -> int:
    names = [scale for scale in range(3)]
    pairs = {item: 1 for item in names}
    return scale(len(pairs)) + item(1)
""",
        },
        "steps:go",
    ),
    "a lambda that calls a pipeline": SmallProject(
        {
            "late.py": """V = 4


def f(v):
    return v + V
""",
            "steps.py": """
from rayform import pipeline, step


@step
def go() -> int:
    return LATE + late.f(1)


@pipeline
def flow():
    go()


run = lambda: flow()
LATE = 3
import late
LATE = LATE + 2
""",
        },
        "steps:go",
    ),
    "a package that loads its modules when asked": SmallProject(
        {
            "lz/__init__.py": """
import importlib

_WHERE = {"f": "alpha", "g": "beta"}
__all__ = list(_WHERE)


def __getattr__(name):
    if name in _WHERE:
        return getattr(importlib.import_module("." + _WHERE[name], __name__), name)
    raise AttributeError(name)
""",
            "lz/alpha.py": """def f(v):
    return v + 1
"""
            + UNUSED,
            "lz/beta.py": """def g(v):
    return v + 2
"""
            + UNUSED,
            "steps.py": """
import lz
from lz import f
from rayform import step


@step
def go() -> int:
    return f(1) + lz.g(1)
""",
        },
        "steps:go",
        counts_whole_modules=True,
    ),
    "modules that a package's __all__ names": SmallProject(
        {
            "pk/__init__.py": "__all__ = ['one', 'two']\n",
            "pk/one.py": """def f(v):
    return v + 1
"""
            + UNUSED,
            "pk/two.py": """def g(v):
    return v + 2
"""
            + UNUSED,
            "steps.py": """
from pk import *
from rayform import step


@step
def go() -> int:
    return one.f(1) + two.g(1)
""",
        },
        "steps:go",
    ),
}
