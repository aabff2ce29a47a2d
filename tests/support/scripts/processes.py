"""Starts processes one by one, talks to them by queues, and reads their exit codes."""

import multiprocessing
import sys

from both_ways import finish

from rayform import pipeline, step


class Refused(Exception):
    """An exception of the script."""


def answer(queue: object, number: int) -> None:
    queue.put((number + 1, sys.argv[1:]))  # type: ignore[attr-defined]
    sys.exit(number)


@step
def exit_codes(method: str) -> list:
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=answer, args=(queue, 7))
    process.start()
    answered = queue.get()
    process.join()
    return [answered, process.exitcode, multiprocessing.current_process().name]


def refuse(number: int) -> None:
    raise Refused(number)


@step
def failures(method: str) -> str:
    with multiprocessing.get_context(method).Pool(1) as pool:
        try:
            pool.apply(refuse, (3,))
        except Refused as error:
            return f"{type(error).__name__} {error}"
    return "nothing was raised"


@pipeline
def starting() -> object:
    return (
        exit_codes("fork"),
        exit_codes("spawn"),
        exit_codes("forkserver"),
        failures("fork"),
        failures("spawn"),
    )


if __name__ == "__main__":
    finish(starting)
