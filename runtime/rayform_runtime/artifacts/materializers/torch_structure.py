"""The structure of a PyTorch module as JSON: classes, attributes, and the places of tensors."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, NoReturn, TypedDict, cast

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeChangedError, import_path, is_importable, resolve
from rayform_runtime.artifacts.materializers.json_codec import JSON, Decoder, Encoder

if TYPE_CHECKING:
    import torch

__all__ = ["Structure", "describe", "rebuild"]

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


class _Node(TypedDict):
    """One module; tensors are referred to by their names, child modules by their numbers.

    `attributes` holds one pair each: how the attribute is stored (`value`, `tensor`, `function`, or a type of
    PyTorch), and the stored form.
    """

    type: str
    training: bool
    parameters: dict[str, str | None]
    buffers: dict[str, str | None]
    transient: list[str]
    attributes: dict[str, dict[str, JSON]]
    modules: dict[str, int | None]


class Structure(TypedDict):
    """A module without its tensors, as it is stored.

    `root` is the number of the outermost module in `nodes`. `devices` has the tensors that aren't on the CPU, and
    `parameters` those that are parameters, with their `requires_grad`.
    """

    root: int
    nodes: list[_Node]
    devices: dict[str, str]
    parameters: dict[str, bool]


def describe(module: torch.nn.Module) -> tuple[Structure, dict[str, torch.Tensor]]:
    """Return the structure of a module, and its tensors by name.

    A module or tensor in several places (tied weights) is described once.

    Raises:
        UsageError: the module has hooks, attributes that can't be stored, or classes that can't be imported.
    """
    describer = _Describer()
    root = describer.module(module, "")
    tensors = describer.tensors
    structure: Structure = {
        "root": root,
        "nodes": describer.nodes,
        "devices": {name: str(t.device) for name, t in tensors.items() if t.device.type != "cpu"},
        "parameters": {
            name: bool(t.requires_grad)
            for name, t in tensors.items()
            if isinstance(t, describer.torch.nn.Parameter)
        },
    }
    return structure, tensors


class _Describer:
    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.base_attributes = set(vars(torch.nn.Module()))
        self.nodes: list[_Node] = []
        self.numbers: dict[int, int] = {}  # places in `nodes`, by a module's identity
        self.tensors: dict[str, torch.Tensor] = {}
        self.names: dict[int, str] = {}  # names in `tensors`, by a tensor's identity

    def module(self, module: torch.nn.Module, where: str) -> int:
        number = self.numbers.get(id(module))
        if number is not None:
            return number
        kind = type(module)
        if not is_importable(kind):
            raise UsageError(
                f"A PyTorch module of type '{import_path(kind)}' can't be stored (at module{where}).",
                why="Its class can't be imported by that name.",
                hint="Define the class at the top level of a module.",
            )
        for name, hooks in vars(module).items():
            if name.endswith("_hooks") and hooks and name in self.base_attributes:
                raise UsageError(
                    f"A PyTorch module of type '{import_path(kind)}' can't be stored (at module{where}).",
                    why=f"It has hooks ({name.strip('_')}), which are functions.",
                    hint="Remove them before the step returns the module.",
                )
        number = self.numbers[id(module)] = len(self.nodes)
        node: _Node = {
            "type": import_path(kind),
            "training": module.training,
            "parameters": {
                n: None if t is None else self.tensor(t, f"{where}.{n}")
                for n, t in module._parameters.items()
            },
            "buffers": {
                n: None if t is None else self.tensor(t, f"{where}.{n}") for n, t in module._buffers.items()
            },
            "transient": sorted(module._non_persistent_buffers_set),
            "attributes": {
                name: self.attribute(value, f"{where}.{name}")
                for name, value in vars(module).items()
                if name not in self.base_attributes
            },
            "modules": {},
        }
        self.nodes.append(node)
        for name, child in module._modules.items():
            node["modules"][name] = None if child is None else self.module(child, f"{where}.{name}")
        return number

    def tensor(self, tensor: torch.Tensor, where: str) -> str:
        name = self.names.setdefault(id(tensor), where.lstrip("."))
        self.tensors[name] = tensor
        return name

    def attribute(self, value: object, where: str) -> dict[str, JSON]:
        if isinstance(value, _FUNCTIONS):
            path = f"{value.__module__}:{value.__qualname__}"
            try:
                function = resolve(path)
            except Exception:  # noqa: BLE001 - whatever was raised, the name doesn't lead to the function
                function = None
            if function is value:
                return {"function": path}
            self._refuse(value, where)
        if isinstance(value, self.torch.dtype | self.torch.device | self.torch.Size):
            return {type(value).__name__: list(value) if isinstance(value, tuple) else str(value)}
        if isinstance(value, self.torch.Tensor):
            return {"tensor": self.tensor(value, where)}

        def refuse(item: object, inside: str) -> int:
            self._refuse(item, where + inside)

        return {"value": Encoder(refuse).encode(value)}

    def _refuse(self, value: object, where: str) -> NoReturn:
        raise UsageError(
            f"A PyTorch module can't be stored (at module{where}).",
            why=f"The attribute is of type '{import_path(type(value))}', which can't be stored as JSON.",
            hint="Return its state_dict(), write a materializer for the module's class, or choose to pickle it: "
            "ArtifactConfig(materializer=CloudpickleMaterializer).",
        )


def rebuild(structure: Structure, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Build a module from what `describe` returned: its structure, and its tensors by name.

    Raises:
        TypeGoneError: a class can't be imported any more.
        TypeChangedError: a class is no longer that of a PyTorch module.
    """
    return _Rebuilder(structure, tensors).module(structure["root"])


class _Rebuilder:
    def __init__(self, structure: Structure, tensors: dict[str, torch.Tensor]) -> None:
        import torch

        self.torch = torch
        self.nodes = structure["nodes"]
        self.tensors = {
            name: torch.nn.Parameter(tensor, requires_grad=structure["parameters"][name])
            if name in structure["parameters"]
            else tensor
            for name, tensor in tensors.items()
        }
        self.modules: dict[int, torch.nn.Module] = {}  # those that are built, by number

    def module(self, number: int) -> torch.nn.Module:
        if number in self.modules:
            return self.modules[number]
        node = self.nodes[number]
        kind = resolve(node["type"])
        if not (isinstance(kind, type) and issubclass(kind, self.torch.nn.Module)):
            raise TypeChangedError(
                f"A stored PyTorch module can't be loaded: '{node['type']}' is no longer the class of a module.",
                hint="Restore the class.",
            )
        module = kind.__new__(kind)
        self.torch.nn.Module.__init__(module)
        self.modules[number] = module
        module.training = node["training"]
        for name, value in node["attributes"].items():
            object.__setattr__(module, name, self._attribute(value))
        for name, key in node["parameters"].items():
            module._parameters[name] = None if key is None else self.tensors[key]  # type: ignore[assignment] # made parameters by __init__
        for name, key in node["buffers"].items():
            module._buffers[name] = None if key is None else self.tensors[key]
        module._non_persistent_buffers_set = set(node["transient"])
        for name, child in node["modules"].items():
            module._modules[name] = None if child is None else self.module(child)
        return module

    def _attribute(self, stored: dict[str, JSON]) -> object:
        import json

        ((how, value),) = stored.items()
        if how == "value":
            return json.loads(json.dumps(value), object_hook=Decoder(lambda number: None).hook)
        if how == "Size":
            return self.torch.Size(cast("list[int]", value))
        name = str(value)
        if how == "function":
            function = resolve(name)
            if not isinstance(function, _FUNCTIONS):
                raise UsageError(f"'{name}' of a stored PyTorch module is not a function any more.")
            return function
        if how == "tensor":
            return self.tensors[name]
        if how == "device":
            return self.torch.device(name)
        return getattr(self.torch, name.removeprefix("torch."))
