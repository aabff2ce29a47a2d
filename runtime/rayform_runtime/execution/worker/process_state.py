"""State of a whole process that a step may set, and that the next step in the same worker must not find.

A table has one row per part: how to read it and how to write it. Parts of a library are read and written only once that
library is imported. Seeds are in `seeds`, module-level variables in `module_state`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has no stub
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["ProcessState"]

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# SIGUSR1 shows where a step stands; Rayform itself sets it.
_SIGNALS = tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1})))


class _Part(NamedTuple):
    """A part of the state.

    Args:
        module: the module that must be imported for the part to exist.
        read: returns the part's value.
        write: sets it.
        initial: sets what the part is right after the import, for a module that the step itself imported.
    """

    module: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], object]
    initial: Callable[[Any], object] | None = None


class ProcessState:
    """The state of a worker after it has loaded the user's code; `restore` brings it back after each step."""

    def __init__(self) -> None:
        self._values: dict[int, Any] = {}
        for number, part in enumerate(_PARTS):
            module = sys.modules.get(part.module)
            if module is not None:
                with contextlib.suppress(Exception):
                    self._values[number] = part.read(module)

    def restore(self) -> bool:
        """Set what differs to what it was; return whether all of it could be set."""
        complete = True
        for number, part in enumerate(_PARTS):
            module = sys.modules.get(part.module)
            if module is None:
                continue
            try:
                if number not in self._values:
                    if part.initial is not None:
                        part.initial(module)
                    self._values[number] = part.read(module)
                elif part.read(module) != self._values[number]:
                    part.write(module, self._values[number])
            except Exception:  # noqa: BLE001 - a limit that can't be raised again, a library that was changed
                complete = False
        return complete


# -- Python ---------------------------------------------------------------------------------------------------


def _read_handlers(_: ModuleType) -> tuple[object, ...]:
    # The functions of `signal` turn each number into a member of an enum, which takes ten times as long.
    return (tuple(map(_signal.getsignal, _SIGNALS)), _signal.pthread_sigmask(_signal.SIG_BLOCK, ()))


def _write_handlers(_: ModuleType, value: tuple[tuple[Any, ...], set[int]]) -> None:
    handlers, mask = value
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None and _signal.getsignal(number) != handler:
            _signal.signal(number, handler)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _read_timers(_: ModuleType) -> bool:
    return any(_signal.getitimer(timer)[0] for timer in _TIMERS)


def _write_timers(_: ModuleType, __: bool) -> None:
    for timer in _TIMERS:
        signal.setitimer(timer, 0)


@cache
def _limits_of(resource: ModuleType) -> tuple[int, ...]:
    return tuple({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})


def _read_limits(resource: Any) -> dict[int, tuple[int, int]]:
    return {number: resource.getrlimit(number) for number in _limits_of(resource)}


def _write_limits(resource: Any, limits: Mapping[int, tuple[int, int]]) -> None:
    for number, limit in limits.items():
        if resource.getrlimit(number) != limit:
            resource.setrlimit(number, limit)


def _write_warnings(warnings: Any, value: tuple[list[Any], object]) -> None:
    warnings.filters[:], warnings.showwarning = value
    warnings._filters_mutated()


def _loggers(logging: Any) -> list[Any]:
    manager = logging.Logger.manager
    named = [logger for logger in list(manager.loggerDict.values()) if isinstance(logger, logging.Logger)]
    return [logging.root, *named]


def _read_logging(logging: Any) -> tuple[int, dict[Any, tuple[Any, ...]]]:
    states = {
        logger: (
            logger.level,
            tuple(logger.handlers),
            tuple(logger.filters),
            logger.disabled,
            logger.propagate,
        )
        for logger in _loggers(logging)
    }
    return logging.Logger.manager.disable, states


_NEW_LOGGER = (0, (), (), False, True)


def _write_logging(logging: Any, value: tuple[int, dict[Any, tuple[Any, ...]]]) -> None:
    disable, states = value
    logging.disable(disable)
    for logger in _loggers(logging):
        level, handlers, filters, disabled, propagate = states.get(logger, _NEW_LOGGER)
        if logger.level != level:
            logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters
        logger.disabled, logger.propagate = disabled, propagate


def _initial_logging(logging: Any) -> None:
    _write_logging(logging, (0, {logging.root: (logging.WARNING, (), (), False, True)}))


def _decimal_context(decimal: Any) -> Any:
    context = decimal.getcontext()
    traps = tuple(sorted(name.__name__ for name, on in context.traps.items() if on))
    return context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps


def _write_decimal(decimal: Any, value: Any) -> None:
    prec, rounding, smallest, largest, capitals, clamp, traps = value
    kinds = [kind for kind in decimal.getcontext().traps if kind.__name__ in traps]
    decimal.setcontext(decimal.Context(prec, rounding, smallest, largest, capitals, clamp, [], kinds))


# -- libraries ------------------------------------------------------------------------------------------------


def _read_torch(torch: Any) -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
    )


def _write_torch(torch: Any, value: tuple[Any, ...]) -> None:
    dtype, grad, deterministic, threads = value
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(grad)
    torch.use_deterministic_algorithms(deterministic)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _initial_torch(torch: Any) -> None:
    _write_torch(torch, (torch.float32, True, False, torch.get_num_threads()))


def _pandas_options(config: Any) -> dict[str, Any]:
    return {
        name: config.get_option(name)
        for name in config._registered_options
        if name not in config._deprecated_options
    }


def _write_pandas(config: Any, value: Mapping[str, Any]) -> None:
    for name, option in value.items():
        if config.get_option(name) != option:
            config.set_option(name, option)


def _initial_pandas(config: Any) -> None:
    for name, option in config._registered_options.items():
        if name not in config._deprecated_options and config.get_option(name) != option.defval:
            config.set_option(name, option.defval)


def _initial_numpy(numpy: Any) -> None:
    numpy.seterr(divide="warn", over="warn", under="ignore", invalid="warn")


def _setter(name: str) -> Callable[[Any, Any], object]:
    return lambda module, value: setattr(module, name, value)


_PARTS = (
    _Part("sys", lambda m: m.getrecursionlimit(), lambda m, v: m.setrecursionlimit(v)),
    _Part("sys", lambda m: m.getswitchinterval(), lambda m, v: m.setswitchinterval(v)),
    _Part("sys", lambda m: m.excepthook, _setter("excepthook")),
    _Part("sys", lambda m: m.displayhook, _setter("displayhook")),
    _Part("sys", lambda m: list(m.argv), lambda m, v: m.argv.__setitem__(slice(None), v)),
    _Part("gc", lambda m: m.isenabled(), lambda _, v: gc.enable() if v else gc.disable()),
    _Part("gc", lambda m: m.get_threshold(), lambda m, v: m.set_threshold(*v)),
    _Part("signal", _read_handlers, _write_handlers),
    _Part("signal", _read_timers, _write_timers),
    _Part("os", lambda m: m.sched_getaffinity(0), lambda m, v: m.sched_setaffinity(0, v)),
    _Part("resource", _read_limits, _write_limits),
    _Part("warnings", lambda m: (list(m.filters), m.showwarning), _write_warnings),
    _Part("logging", _read_logging, _write_logging, _initial_logging),
    _Part(
        "decimal",
        _decimal_context,
        _write_decimal,
        lambda m: m.setcontext(m.Context(prec=28, rounding=m.ROUND_HALF_EVEN)),
    ),
    _Part("locale", lambda m: m.setlocale(m.LC_ALL), lambda m, v: m.setlocale(m.LC_ALL, v)),
    _Part("socket", lambda m: m.getdefaulttimeout(), lambda m, v: m.setdefaulttimeout(v)),
    _Part("tempfile", lambda m: m.tempdir, _setter("tempdir")),
    _Part(
        "multiprocessing.context",
        lambda m: m._default_context._actual_context,
        lambda m, v: setattr(m._default_context, "_actual_context", v),
        lambda m: setattr(m._default_context, "_actual_context", None),
    ),
    _Part("numpy", lambda m: m.geterr(), lambda m, v: m.seterr(**v), _initial_numpy),
    _Part("numpy", lambda m: m.get_printoptions(), lambda m, v: m.set_printoptions(**v)),
    _Part("pandas._config.config", _pandas_options, _write_pandas, _initial_pandas),
    _Part("torch", _read_torch, _write_torch, _initial_torch),
    _Part("matplotlib", lambda m: dict(m.rcParams), lambda m, v: dict.update(m.rcParams, v)),
    _Part("sklearn._config", lambda m: m.get_config(), lambda m, v: m.set_config(**v)),
)
