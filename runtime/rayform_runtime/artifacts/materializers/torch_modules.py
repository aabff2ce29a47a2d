"""PyTorch modules and tensors: weights as safetensors, structure as JSON, and never a pickle that runs code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rayform_runtime.artifacts.materializers.base import Materializer, short
from rayform_runtime.artifacts.materializers.torch_structure import Rebuilder, describe
from rayform_runtime.artifacts.materializers.torch_weights import load_tensors, save_tensors

__all__ = ["TorchModuleMaterializer", "TorchTensorMaterializer"]

_STRUCTURE, _ABOUT = "module.json", "tensor.json"


class TorchTensorMaterializer(Materializer):
    """Stores tensors and parameters."""

    def save(self, value: Any, folder: Path) -> None:
        """Write the tensor."""
        import torch

        save_tensors({"tensor": value}, folder)
        about = {
            "device": str(value.device),
            "requires_grad": bool(value.requires_grad),
            "parameter": isinstance(value, torch.nn.Parameter),
        }
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def load(self, folder: Path, data_type: type) -> Any:
        """Read the tensor, onto the device that it came from where there is one."""
        import torch

        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        tensor = load_tensors(folder, {"tensor": about["device"]})["tensor"]
        if about["parameter"]:
            return torch.nn.Parameter(tensor, requires_grad=about["requires_grad"])
        return tensor.requires_grad_(about["requires_grad"]) if about["requires_grad"] else tensor

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return dtype, shape, device, bytes, and min, max and mean of real numbers."""
        known: dict[str, Any] = {
            "dtype": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape),
            "device": str(value.device),
            "nbytes": value.numel() * value.element_size(),
        }
        if value.numel() and value.layout is _strided() and not value.is_complex() and not value.is_quantized:
            numbers = value.detach()
            numbers = numbers.float() if numbers.dtype.is_floating_point else numbers
            low, high = numbers.aminmax()
            mean = numbers.float().mean()
            for name, item in (("min", low), ("max", high), ("mean", mean)):
                number = item.item()
                if number - number == 0:
                    known[name] = number
        return known

    def summary(self, value: Any) -> str:
        """Return dtype and shape."""
        return f"Tensor {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)} on {value.device}"


class TorchModuleMaterializer(Materializer):
    """Stores modules: the classes that they are made of by their import paths, their attributes as JSON, their
    parameters and buffers as safetensors.

    The module is rebuilt without calling any `__init__`, so that it needs no arguments; its classes must still
    be importable. Hooks aren't stored, and a module that has some is refused.
    """

    ASSOCIATED_ARTIFACT_TYPE = "model"

    def save(self, value: Any, folder: Path) -> None:
        """Write structure and weights.

        Raises:
            UsageError: the module has hooks, or attributes that can't be stored.
        """
        structure, tensors = describe(value)
        save_tensors(tensors, folder)
        (folder / _STRUCTURE).write_text(json.dumps(structure), encoding="utf-8")

    def load(self, folder: Path, data_type: type) -> Any:
        """Rebuild the module, onto the devices that it came from where there are such."""
        structure = json.loads((folder / _STRUCTURE).read_text(encoding="utf-8"))
        return Rebuilder(structure, load_tensors(folder, structure["devices"])).build()

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return class, numbers of parameters, bytes, and the devices."""
        parameters = list(value.parameters())
        return {
            "class": type(value).__name__,
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "nbytes": sum(p.numel() * p.element_size() for p in [*parameters, *value.buffers()]),
            "dtypes": sorted({str(p.dtype).removeprefix("torch.") for p in parameters}),
            "devices": sorted({str(p.device) for p in parameters}),
        }

    def save_visualizations(self, value: Any, folder: Path) -> dict[str, str]:
        """Show the module's text."""
        (folder / "module.md").write_text(f"```text\n{value}\n```\n", encoding="utf-8")
        return {"module.md": "markdown"}

    def summary(self, value: Any) -> str:
        """Return class and number of parameters."""
        return short(f"{type(value).__name__} with {sum(p.numel() for p in value.parameters()):,} parameters")


def _strided() -> Any:
    import torch

    return torch.strided
