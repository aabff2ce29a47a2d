"""The structure of a PyTorch module as JSON: classes, attributes, and which tensor is where."""

from __future__ import annotations

import types
from typing import Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path, is_importable, resolve
from rayform_runtime.artifacts.materializers.json_codec import Decoder, Encoder

__all__ = ["Rebuilder", "describe"]

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def describe(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the structure of a module, and its tensors by name.

    A module or tensor that stands in several places (tied weights) is described once.

    Raises:
        UsageError: it has hooks, attributes that can't be stored, or classes that can't be imported.
    """
    return _Describer().describe(module)


class _Describer:
    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.base_attributes = set(vars(torch.nn.Module()))
        self.numbers: dict[int, int] = {}
        self.nodes: list[dict[str, Any]] = []
        self.names: dict[int, str] = {}
        self.tensors: dict[str, Any] = {}

    def describe(self, module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        root = self.module(module, "")
        devices = {name: str(t.device) for name, t in self.tensors.items() if t.device.type != "cpu"}
        parameters = {
            name: bool(t.requires_grad)
            for name, t in self.tensors.items()
            if isinstance(t, self.torch.nn.Parameter)
        }
        return {"root": root, "nodes": self.nodes, "devices": devices, "parameters": parameters}, self.tensors

    def module(self, module: Any, where: str) -> int:
        known = self.numbers.get(id(module))
        if known is not None:
            return known
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
        node: dict[str, Any] = {"type": import_path(kind), "training": module.training}
        self.nodes.append(node)
        node["parameters"] = {n: self.tensor(t, f"{where}.{n}") for n, t in module._parameters.items()}
        node["buffers"] = {n: self.tensor(t, f"{where}.{n}") for n, t in module._buffers.items()}
        node["transient"] = sorted(module._non_persistent_buffers_set)
        node["attributes"] = {
            name: self.attribute(value, f"{where}.{name}")
            for name, value in vars(module).items()
            if name not in self.base_attributes
        }
        node["modules"] = {
            name: None if child is None else self.module(child, f"{where}.{name}")
            for name, child in module._modules.items()
        }
        return number

    def tensor(self, tensor: Any, where: str) -> str | None:
        if tensor is None:
            return None
        name = self.names.setdefault(id(tensor), where.lstrip("."))
        self.tensors[name] = tensor
        return name

    def attribute(self, value: Any, where: str) -> Any:
        if isinstance(value, _FUNCTIONS):
            path = f"{value.__module__}:{value.__qualname__}"
            try:
                found = resolve(path)
            except Exception:  # noqa: BLE001 - whatever it is, the function isn't found by its name
                found = None
            if found is value:
                return {"function": path}
            raise self._refuse(value, where)
        if isinstance(value, self.torch.dtype | self.torch.device | self.torch.Size):
            return {type(value).__name__: list(value) if isinstance(value, tuple) else str(value)}
        if isinstance(value, self.torch.Tensor):
            return {"tensor": self.tensor(value, where)}

        def refuse(item: Any, inside: str) -> int:
            raise self._refuse(item, where + inside)

        return {"value": Encoder(refuse).encode(value)}

    def _refuse(self, value: Any, where: str) -> UsageError:
        return UsageError(
            f"A PyTorch module can't be stored (at module{where}).",
            why=f"The attribute is of type '{import_path(type(value))}', which can't be kept as JSON.",
            hint="Return its state_dict(), write a materializer for the module's class, or choose to pickle it: "
            "ArtifactConfig(materializer=CloudpickleMaterializer).",
        )


class Rebuilder:
    """Builds a module from its structure and tensors.

    Args:
        structure: what `describe` returned, from JSON.
        tensors: the tensors by name.
    """

    def __init__(self, structure: dict[str, Any], tensors: dict[str, Any]) -> None:
        import torch

        self.torch = torch
        self.nodes = structure["nodes"]
        self.root = structure["root"]
        self.tensors = {
            name: torch.nn.Parameter(tensor, requires_grad=structure["parameters"][name])
            if name in structure["parameters"]
            else tensor
            for name, tensor in tensors.items()
        }
        self.built: dict[int, Any] = {}

    def build(self) -> Any:
        """Return the module."""
        return self._module(self.root)

    def _module(self, number: int) -> Any:
        if number in self.built:
            return self.built[number]
        node = self.nodes[number]
        kind: Any = resolve(node["type"])
        if not (isinstance(kind, type) and issubclass(kind, self.torch.nn.Module)):
            from rayform_runtime.artifacts.import_paths import TypeChangedError

            raise TypeChangedError(
                f"A stored PyTorch module can't be loaded: '{node['type']}' is no module class any more.",
                hint="Restore the class.",
            )
        make: Any = kind.__new__
        module = make(kind)
        self.torch.nn.Module.__init__(module)
        self.built[number] = module
        module.training = node["training"]
        for name, value in node["attributes"].items():
            object.__setattr__(module, name, self._attribute(value))
        for name, key in node["parameters"].items():
            module._parameters[name] = None if key is None else self.tensors[key]
        for name, key in node["buffers"].items():
            module._buffers[name] = None if key is None else self.tensors[key]
        module._non_persistent_buffers_set = set(node["transient"])
        for name, child in node["modules"].items():
            module._modules[name] = None if child is None else self._module(child)
        return module

    def _attribute(self, stored: dict[str, Any]) -> Any:
        import json

        ((what, value),) = stored.items()
        if what == "value":
            return json.loads(json.dumps(value), object_hook=Decoder(lambda number: None).hook)
        if what == "function":
            function = resolve(value)
            if not isinstance(function, _FUNCTIONS):
                raise UsageError(f"'{value}' of a stored PyTorch module is no function.")
            return function
        if what == "tensor":
            return self.tensors[value]
        if what == "Size":
            return self.torch.Size(value)
        if what == "device":
            return self.torch.device(value)
        return getattr(self.torch, value.removeprefix("torch."))
