"""What a stored PyTorch module may name: functions and classes that compute, never attributes of `nn.Module` itself."""

from __future__ import annotations

import types
from functools import lru_cache

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeChangedError
from rayform_runtime.artifacts.trust import is_of_projects_module, is_trusted, resolve_stored, untrusted

__all__ = ["FUNCTIONS", "refuse_reserved", "stored_class", "stored_function"]

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
_WRITTEN_IN_PYTHON = ("torch.nn.functional", "torch.functional", "torch._jit_internal")
"""Modules of PyTorch whose functions are computations on tensors."""
_WRITTEN_IN_C = ("_VariableFunctions", "_nn", "_special", "_linalg", "_fft")
"""Modules of `torch._C` of which the same holds."""
_NO_COMPUTATIONS = frozenset(("from_file", "_import_ir_module", "from_dlpack"))


@lru_cache(maxsize=1)
def _reserved() -> frozenset[str]:
    import torch

    return frozenset((*dir(torch.nn.Module), *vars(torch.nn.Module())))


def refuse_reserved(name: str, value: object) -> None:
    """Refuse an attribute that replaces what PyTorch calls or keeps in each module.

    Data may hide a method's name, as `self.type = "encoder"` does.

    Raises:
        UsageError: the attribute belongs to `torch.nn.Module`.
    """
    import torch

    is_pythons = name[:2] == name[-2:] == "__"
    if is_pythons or name in vars(torch.nn.Module()) or (name in _reserved() and callable(value)):
        raise UsageError(
            f"A PyTorch module can't be stored or loaded with the attribute '{name[:100]}'.",
            why="The attribute belongs to torch.nn.Module itself.",
            hint="Give it another name.",
        )


def stored_function(path: str) -> object:
    """Return the function that a stored module names: one of PyTorch's that computes, or one of the user's project.

    Raises:
        UntrustedError: the module isn't trusted, and names another function.
    """
    function = resolve_stored(path)
    if not isinstance(function, FUNCTIONS):
        raise UsageError(f"'{path[:200]}' of a stored PyTorch module is not a function any more.")
    if not (_computes(function) or is_of_projects_module(function) or is_trusted()):
        raise untrusted(
            f"A stored PyTorch module names the function '{path[:200]}'.",
            "It was not made on this machine, and may name only functions of the project, and those of PyTorch that "
            "compute with tensors.",
        )
    return function


def _computes(function: types.FunctionType | types.BuiltinFunctionType) -> bool:
    import torch

    name = function.__name__
    if name in _NO_COMPUTATIONS:
        return False
    if isinstance(function, types.FunctionType):
        return (
            function.__module__ in _WRITTEN_IN_PYTHON and getattr(torch.nn.functional, name, None) is function
        ) or (function.__module__ == "torch.functional" and getattr(torch, name, None) is function)
    places = [
        getattr(torch._C, "_VariableFunctions", None),
        *(getattr(torch._C, place, None) for place in _WRITTEN_IN_C),
    ]
    return any(getattr(place, name, None) is function for place in places)


def stored_class(path: str) -> type:
    """Return the class that a stored module names: of a layer, of plain values, or one of the user's project.

    Raises:
        UntrustedError: the module isn't trusted, and names another class.
    """
    import torch

    kind = resolve_stored(path)
    if not isinstance(kind, type):
        raise TypeChangedError(f"'{path[:200]}' of a stored PyTorch module is not a class any more.")
    is_plain = kind.__module__ == "builtins" or kind in (torch.Tensor, torch.nn.Parameter, torch.Size)
    if not (is_plain or issubclass(kind, torch.nn.Module) or is_of_projects_module(kind) or is_trusted()):
        raise untrusted(
            f"A stored PyTorch module names the class '{path[:200]}'.",
            "It was not made on this machine, and may name only classes of layers and of the project.",
        )
    return kind
