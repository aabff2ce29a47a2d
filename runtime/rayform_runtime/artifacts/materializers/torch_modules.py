"""PyTorch modules and tensors: weights as safetensors, structure as JSON, never a pickle that runs code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_runtime.artifacts.materializers.base import Materializer, NotProvedError, short
from rayform_runtime.artifacts.materializers.registry import unsupported
from rayform_runtime.artifacts.materializers.torch_structure import Structure, describe, rebuild
from rayform_runtime.artifacts.materializers.torch_weights import load_tensors, save_tensors, unlike

if TYPE_CHECKING:
    import torch

__all__ = ["TorchModuleMaterializer", "TorchTensorMaterializer"]

_STRUCTURE, _ABOUT = "module.json", "tensor.json"
_HINT = (
    "Return its state_dict(), or choose to pickle it: ArtifactConfig(materializer=CloudpickleMaterializer)."
)


class TorchTensorMaterializer(Materializer):
    """Stores tensors and parameters."""

    def save(self, value: torch.Tensor, folder: Path) -> None:
        """Write the tensor.

        Raises:
            UsageError: it is of a subclass, which would not come back, or PyTorch can't save it.
        """
        import torch

        if type(value) not in (torch.Tensor, torch.nn.Parameter) and not value.is_nested:
            raise unsupported(type(value))
        save_tensors({"tensor": value}, folder)
        about = {
            "device": str(value.device),
            "requires_grad": bool(value.requires_grad),
            "parameter": isinstance(value, torch.nn.Parameter),
        }
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def load(self, folder: Path, data_type: type) -> torch.Tensor:
        """Read the tensor, onto the device that it came from if this machine has it."""
        import torch

        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        tensor = load_tensors(folder, {"tensor": about["device"]})["tensor"]
        if about["parameter"]:
            return torch.nn.Parameter(tensor, requires_grad=about["requires_grad"])
        return tensor.requires_grad_(about["requires_grad"]) if about["requires_grad"] else tensor

    def prove(self, value: torch.Tensor, folder: Path) -> None:
        """Check what the files say about the tensor.

        Raises:
            NotProvedError: it isn't what the tensor is.
        """
        problem = unlike({"tensor": value}, folder)
        if problem:
            raise NotProvedError.of(value, problem, _HINT)

    def extract_metadata(self, value: torch.Tensor) -> dict[str, object]:
        """Return dtype, shape, device, bytes, and min, max and mean of real numbers."""
        if value.is_nested:
            return {"dtype": str(value.dtype).removeprefix("torch."), "tensors": value.size(0)}
        facts: dict[str, object] = {
            "dtype": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape),
            "device": str(value.device),
            "nbytes": value.numel() * value.element_size(),
        }
        import torch

        if (
            value.numel()
            and value.layout is torch.strided
            and not value.is_complex()
            and not value.is_quantized
            and not value.is_meta
        ):
            numbers = value.detach()
            numbers = numbers.float() if numbers.dtype.is_floating_point else numbers
            try:
                low, high = numbers.aminmax()
            except NotImplementedError:  # PyTorch has no such operation for some types of numbers
                return facts
            mean = numbers.float().mean()
            for name, item in (("min", low), ("max", high), ("mean", mean)):
                number = item.item()
                if number - number == 0:
                    facts[name] = number
        return facts

    def summary(self, value: torch.Tensor) -> str:
        """Return dtype and shape."""
        if value.is_nested:
            return f"Nested tensor {str(value.dtype).removeprefix('torch.')} of {value.size(0):,} tensors"
        return f"Tensor {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)} on {value.device}"


class TorchModuleMaterializer(Materializer):
    """Stores modules: import paths of their classes, attributes as JSON, parameters and buffers as safetensors.

    Loading rebuilds the module without calling any `__init__`, so it needs no arguments. The classes must still be
    importable. A module with hooks is refused, since hooks can't be stored.
    """

    ASSOCIATED_ARTIFACT_TYPE = "model"

    def save(self, value: torch.nn.Module, folder: Path) -> None:
        """Write structure and weights.

        Raises:
            UsageError: the module has hooks, or attributes that can't be stored.
        """
        structure, tensors = describe(value)
        save_tensors(
            {name: t for name, t in tensors.items() if name not in structure.get("lazy", {})}, folder
        )
        (folder / _STRUCTURE).write_text(json.dumps(structure), encoding="utf-8")

    def load(self, folder: Path, data_type: type) -> torch.nn.Module:
        """Rebuild the module, on the devices that it came from if this machine has them."""
        structure: Structure = json.loads((folder / _STRUCTURE).read_text(encoding="utf-8"))
        return rebuild(structure, load_tensors(folder, structure["devices"]))

    def prove(self, value: torch.nn.Module, folder: Path) -> None:
        """Rebuild the module with its own tensors, and check what the files say about these.

        Raises:
            NotProvedError: the module would not come back.
        """
        structure, tensors = describe(value)
        stored = {name: t.detach() for name, t in tensors.items() if name not in structure.get("lazy", {})}
        problem = unlike(stored, folder)
        try:
            rebuilt, _ = describe(rebuild(json.loads((folder / _STRUCTURE).read_bytes()), stored))
            if json.dumps(rebuilt) != json.dumps(structure):
                problem = problem or "Some of its attributes would be others."
        except Exception as error:
            raise NotProvedError.of(value, f"{type(error).__name__}: {error}", _HINT) from error
        if problem:
            raise NotProvedError.of(value, problem, _HINT)

    def extract_metadata(self, value: torch.nn.Module) -> dict[str, object]:
        """Return class, numbers of parameters, bytes, dtypes and devices."""
        import torch

        lazy = torch.nn.parameter.is_lazy
        parameters = [p for p in value.parameters() if not lazy(p)]
        return {
            "class": type(value).__name__,
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "nbytes": sum(
                p.numel() * p.element_size() for p in [*parameters, *value.buffers()] if not lazy(p)
            ),
            "dtypes": sorted({str(p.dtype).removeprefix("torch.") for p in parameters}),
            "devices": sorted({str(p.device) for p in parameters}),
        }

    def save_visualizations(self, value: torch.nn.Module, folder: Path) -> dict[str, str]:
        """Show the module as PyTorch prints it."""
        (folder / "module.md").write_text(f"```text\n{value}\n```\n", encoding="utf-8")
        return {"module.md": "markdown"}

    def summary(self, value: torch.nn.Module) -> str:
        """Return class and number of parameters."""
        import torch

        parameters = (p for p in value.parameters() if not torch.nn.parameter.is_lazy(p))
        return short(f"{type(value).__name__} with {sum(p.numel() for p in parameters):,} parameters")
