"""Named tensors in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rayform_runtime.artifacts.materializers.base import needs

__all__ = ["load_tensors", "save_tensors"]

_SAFE, _WEIGHTS = "tensors.safetensors", "tensors.pt"


def save_tensors(tensors: Mapping[str, Any], folder: Path) -> None:
    """Write tensors; those that safetensors can't hold (complex, sparse, quantized) by `torch.save`."""
    with needs("torch"):
        import torch
        from safetensors.torch import save_file

    plain: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, tensor in tensors.items():
        data = tensor.detach()
        if data.layout is torch.strided and not data.is_complex() and not data.is_quantized:
            # Own, contiguous memory: safetensors refuses tensors that share theirs.
            plain[name] = torch.empty(data.shape, dtype=data.dtype).copy_(data)
        else:
            others[name] = data.cpu()
    if plain:
        save_file(plain, folder / _SAFE)
    if others:
        torch.save(others, folder / _WEIGHTS)


def load_tensors(folder: Path, devices: Mapping[str, str]) -> dict[str, Any]:
    """Read tensors, each onto its device where this machine has it and onto the CPU elsewhere."""
    with needs("torch"):
        import torch
        from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    if (folder / _SAFE).exists():
        tensors.update(load_file(folder / _SAFE))
    if (folder / _WEIGHTS).exists():
        tensors.update(torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True))
    return {name: _onto(tensor, devices.get(name, "cpu")) for name, tensor in tensors.items()}


def _onto(tensor: Any, device: str) -> Any:
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda" and torch.cuda.is_available():
        index = torch.device(device).index
        return tensor.to(device if index is None or index < torch.cuda.device_count() else "cuda")
    if kind == "mps" and torch.backends.mps.is_available():
        return tensor.to("mps")
    return tensor
