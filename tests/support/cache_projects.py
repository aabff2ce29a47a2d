"""Small projects, each with an idiom of its own: which lines a step runs is known only when it has run.

Each has the texts of its files by path, the module and name of its step, and an expression for the step's arguments, in
which `load("module")` imports one of the project's modules.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROJECTS", "SmallProject"]


@dataclass(frozen=True)
class SmallProject:
    """A project: `files` by path, `step` as `module:name`, and the source of its arguments."""

    files: dict[str, str]
    step: str
    arguments: str = "()"


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
}
