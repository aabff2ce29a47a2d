"""Executes the text of a program by itself, as debuggers and notebooks' converters do."""

from both_ways import finish

PROGRAM = """
from rayform import pipeline, step

class Counter:
    def count(self, number):
        return number + 1

def more(number):
    return Counter().count(number)

@step
def first(number: int) -> int:
    return more(number)

@step
def name() -> str:
    return __name__

@pipeline
def chain() -> object:
    return first(3), name()
"""

variables: dict[str, object] = {"__name__": "__main__"}
exec(compile(PROGRAM, "program.py", "exec"), variables)
finish(variables["chain"])
