"""The structure of a PyTorch module as JSON: classes, attributes, and the places of tensors."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, NoReturn, NotRequired, TypedDict, cast

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import TypeChangedError, import_path, is_importable, resolve
from rayform_runtime.artifacts.materializers.json_codec import JSON, Decoder, Encoder
from rayform_runtime.artifacts.materializers.registry import unsupported
from rayform_runtime.artifacts.materializers.torch_names import refuse_reserved, stored_class, stored_function
from rayform_runtime.artifacts.trust import resolve_stored

if TYPE_CHECKING:
    import torch

__all__ = ["Structure", "describe", "rebuild"]

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


class _Node(TypedDict):
    """One module; tensors are referred to by their names, child modules by their numbers.

    `attributes` holds one pair each: how the attribute is stored (`value`, `tensor`, `function`, or a type of
    PyTorch), and the stored form. `parametrized` is true for a module with parametrizations, such as weight norm:
    PyTorch makes a class for it, and `type` is the class that it had before.
    """

    type: str
    training: bool
    parameters: dict[str, str | None]
    buffers: dict[str, str | None]
    transient: list[str]
    attributes: dict[str, dict[str, JSON]]
    modules: dict[str, int | None]
    parametrized: NotRequired[bool]


class Structure(TypedDict):
    """A module without its tensors, as it is stored.

    `root` is the number of the outermost module in `nodes`. `devices` has the tensors that aren't on the CPU, and
    `parameters` those that are parameters, with their `requires_grad`. `lazy` has the dtypes of tensors whose shapes
    only the first call of their module decides. `items` has what lies inside of the attributes' containers and isn't
    JSON, each stored like an attribute; modules of earlier versions have none of these two.
    """

    root: int
    nodes: list[_Node]
    devices: dict[str, str]
    parameters: dict[str, bool]
    lazy: NotRequired[dict[str, str]]
    items: NotRequired[list[dict[str, JSON]]]


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
        "lazy": describer.lazy,
        "items": describer.items,
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
        self.lazy: dict[str, str] = {}  # dtypes of tensors without a shape, by name
        self.items: list[dict[str, JSON]] = []  # objects inside of attributes
        self.tensor_types = (torch.Tensor, torch.nn.Parameter)

    def module(self, module: torch.nn.Module, where: str) -> int:
        number = self.numbers.get(id(module))
        if number is not None:
            return number
        parametrized = self.torch.nn.utils.parametrize.is_parametrized(module)
        kind = self.torch.nn.utils.parametrize.type_before_parametrizations(module)
        if not is_importable(kind):
            raise UsageError(
                f"A PyTorch module of type '{import_path(kind)}' can't be stored (at module{where}).",
                why="Its class can't be imported by that name.",
                hint="Define the class at the top level of a module.",
            )
        own = _own_hooks(module)
        for name, hooks in vars(module).items():
            if name.endswith("_hooks") and name in self.base_attributes and not own.issuperset(hooks):
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
            "attributes": {},
            "modules": {},
        }
        if parametrized:
            node["parametrized"] = True
        self.nodes.append(node)  # before attributes and children, whose numbers are larger
        skipped = self.base_attributes.union(_rebuilt_attributes(module))
        for name, value in vars(module).items():
            if name not in skipped:
                node["attributes"][name] = self.attribute(value, f"{where}.{name}")
        for name, child in module._modules.items():
            node["modules"][name] = None if child is None else self.module(child, f"{where}.{name}")
        return number

    def tensor(self, tensor: torch.Tensor, where: str) -> str:
        name = self.names.setdefault(id(tensor), where.lstrip("."))
        self.tensors[name] = tensor
        if self.torch.nn.parameter.is_lazy(tensor):
            self.lazy[name] = str(tensor.dtype)
        elif type(tensor) not in self.tensor_types and not tensor.is_nested:
            raise unsupported(type(tensor), inside=f"module{where}")
        return name

    def attribute(self, value: object, where: str) -> dict[str, JSON]:
        """Return the stored form of an attribute: how it is stored, and the form."""
        refuse_reserved(where.rpartition(".")[2], value)
        stored = self._special(value, where)
        if stored is not None:
            return stored

        def store_item(item: object, inside: str) -> int:
            stored = self._special(item, where + inside)
            if stored is None:
                self._refuse(item, where + inside)
            self.items.append(stored)
            return len(self.items) - 1

        return {"value": Encoder(store_item).encode(value)}

    def _special(self, value: object, where: str) -> dict[str, JSON] | None:
        """Return the stored form of what only PyTorch or an import path can give back, or `None`."""
        if isinstance(value, _FUNCTIONS):
            path = _path_of_function(value)
            if path is None:
                self._refuse(value, where)
            return {"function": path}
        if isinstance(value, type) and is_importable(value):
            return {"class": import_path(value)}
        if isinstance(value, self.torch.dtype | self.torch.device | self.torch.Size):
            return {type(value).__name__: list(value) if isinstance(value, tuple) else str(value)}
        if isinstance(value, self.torch.Tensor):
            return {"tensor": self.tensor(value, where)}
        if isinstance(value, self.torch.nn.Module):
            return {"module": self.module(value, where)}
        return None

    def _refuse(self, value: object, where: str) -> NoReturn:
        raise UsageError(
            f"A PyTorch module can't be stored (at module{where}).",
            why=f"The attribute is of type '{import_path(type(value))}', which can't be stored as JSON.",
            hint="Return its state_dict(), write a materializer for the module's class, or choose to pickle it: "
            "ArtifactConfig(materializer=CloudpickleMaterializer).",
        )


def _path_of_function(function: types.FunctionType | types.BuiltinFunctionType) -> str | None:
    """Return the import path of a function, or `None`; functions in C, like `torch.tanh`, don't know their module."""
    own = f"{function.__module__}:{function.__qualname__}"
    for path in (own, f"torch:{function.__name__}", f"torch.nn.functional:{function.__name__}"):
        try:
            if resolve(path) is function:
                return path
        except Exception:  # noqa: BLE001, S112 - whatever was raised, the name doesn't lead to the function
            continue
    return None


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
        for name, dtype in structure.get("lazy", {}).items():
            self.tensors[name] = self._lazy(dtype, structure["parameters"].get(name))
        self.items = structure.get("items", [])
        self.modules: dict[int, torch.nn.Module] = {}  # those that are built, by number

    def module(self, number: int) -> torch.nn.Module:
        if number in self.modules:
            return self.modules[number]
        node = self.nodes[number]
        kind = resolve_stored(node["type"])
        if not (isinstance(kind, type) and issubclass(kind, self.torch.nn.Module)):
            raise TypeChangedError(
                f"A stored PyTorch module can't be loaded: '{node['type']}' is no longer the class of a module.",
                hint="Restore the class.",
            )
        module = kind.__new__(kind)
        self.torch.nn.Module.__init__(module)
        self.modules[number] = module
        module.training = bool(node["training"])
        for name, stored in node["attributes"].items():
            value = self._attribute(stored)
            refuse_reserved(name, value)
            # Not by `setattr`, which would call a property of the class.
            module.__dict__[name] = value
        for name, key in node["parameters"].items():
            module._parameters[name] = None if key is None else self.tensors[key]  # type: ignore[assignment] # made parameters by __init__
        for name, key in node["buffers"].items():
            module._buffers[name] = None if key is None else self.tensors[key]
        module._non_persistent_buffers_set = set(node["transient"])
        for name, child in node["modules"].items():
            module._modules[name] = None if child is None else self.module(child)
        if node.get("parametrized"):
            _parametrize(module)
        _finish(module)
        return module

    def _lazy(self, dtype: str, requires_grad: bool | None) -> torch.Tensor:
        kind = self._constant("dtype", dtype)
        if requires_grad is None:
            return self.torch.nn.UninitializedBuffer(dtype=kind)  # type: ignore[call-arg] # PyTorch's annotations leave it out
        return self.torch.nn.UninitializedParameter(requires_grad=requires_grad, dtype=kind)  # type: ignore[call-arg] # likewise

    def _attribute(self, stored: dict[str, JSON]) -> object:
        import json

        ((how, value),) = stored.items()
        if how == "value":
            hook = Decoder(lambda number: self._attribute(self.items[number])).hook
            return json.loads(json.dumps(value), object_hook=hook)
        if how == "module":
            return self.module(cast("int", value))
        if how == "Size":
            return self.torch.Size(cast("list[int]", value))
        name = str(value)
        if how == "function":
            return stored_function(name)
        if how == "class":
            return stored_class(name)
        if how == "tensor":
            return self.tensors[name]
        if how == "device":
            return self.torch.device(name)
        return self._constant(how, name)

    def _constant(self, how: str, name: str) -> Any:
        value = vars(self.torch).get(name.removeprefix("torch."))
        if how != "dtype" or not isinstance(value, self.torch.dtype):
            raise ValueError(f"{name[:100]!r} is no {how[:100]} of PyTorch")
        return value


def _own_hooks(module: torch.nn.Module) -> set[int]:
    """Return the numbers of hooks that need not be stored.

    A lazy module sets its own ones again. Weight norm's only translates weights that PyTorch before 2.0 stored.
    """
    from torch.nn.modules.lazy import LazyModuleMixin

    own = {
        number
        for number, hook in module._load_state_dict_pre_hooks.items()
        if getattr(getattr(hook, "hook", hook), "__module__", None) == "torch.nn.utils.parametrizations"
    }
    if isinstance(module, LazyModuleMixin):
        handles = (getattr(module, name, None) for name in _LAZY_HOOKS)
        own.update(handle.id for handle in handles if handle is not None)
    return own


_LAZY_HOOKS = ("_load_hook", "_initialize_hook")
_FLAT_WEIGHTS = ("_flat_weights", "_flat_weight_refs")


def _rebuilt_attributes(module: torch.nn.Module) -> tuple[str, ...]:
    """Return the attributes that `_finish` makes from others."""
    import torch
    from torch.nn.modules.lazy import LazyModuleMixin

    if isinstance(module, torch.nn.RNNBase):
        return _FLAT_WEIGHTS
    return _LAZY_HOOKS if isinstance(module, LazyModuleMixin) else ()


def _finish(module: Any) -> None:
    """Make what a module's class keeps about its weights and hooks, by the class's own means."""
    import torch
    from torch.nn.modules.lazy import LazyModuleMixin

    if isinstance(module, torch.nn.RNNBase):
        module._init_flat_weights()
    lazy: Any = module if isinstance(module, LazyModuleMixin) else None
    if lazy is not None and lazy.has_uninitialized_params():
        lazy._load_hook = lazy._register_load_state_dict_pre_hook(lazy._lazy_load_hook)
        lazy._initialize_hook = lazy.register_forward_pre_hook(lazy._infer_parameters, with_kwargs=True)


def _parametrize(module: torch.nn.Module) -> None:
    """Give the module the class that PyTorch makes for its parametrizations, which are child modules already."""
    import torch
    from torch.nn.utils import parametrize

    parametrize._inject_new_class(module)
    parametrizations = module.parametrizations
    if isinstance(parametrizations, torch.nn.ModuleDict):
        for name in parametrizations:
            refuse_reserved(name, print)
            parametrize._inject_property(module, name)
