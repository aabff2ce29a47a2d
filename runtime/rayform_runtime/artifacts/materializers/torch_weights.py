"""Named tensors as files: safetensors, or `torch.save` for tensors that safetensors can't hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_runtime.artifacts.materializers.base import needs

if TYPE_CHECKING:
    import torch

__all__ = ["load_tensors", "save_tensors"]

_SAFE, _WEIGHTS = "tensors.safetensors", "tensors.pt"


def save_tensors(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write tensors by name; complex, sparse and quantized ones with `torch.save`."""
    with needs("torch"):
        import torch
        from safetensors.torch import save_file

    plain: dict[str, torch.Tensor] = {}
    others: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        data = tensor.detach()
        if data.layout is torch.strided and not data.is_complex() and not data.is_quantized:
            # Copied into contiguous memory of its own: safetensors refuses tensors that share memory.
            plain[name] = torch.empty(data.shape, dtype=data.dtype).copy_(data)
        else:
            others[name] = data.cpu()
    if plain:
        save_file(plain, folder / _SAFE)
    if others:
        torch.save(others, folder / _WEIGHTS)


def load_tensors(folder: Path, devices: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Read tensors by name, each onto its device if this machine has it, otherwise onto the CPU."""
    with needs("torch"):
        import torch
        from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    if (folder / _SAFE).exists():
        tensors.update(load_file(folder / _SAFE))
    if (folder / _WEIGHTS).exists():
        tensors.update(torch.load(folder / _WEIGHTS, map_location="cpu", weights_only=True))
    return {name: _onto(tensor, devices.get(name, "cpu")) for name, tensor in tensors.items()}


def _onto(tensor: torch.Tensor, device: str) -> torch.Tensor:
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda" and torch.cuda.is_available():
        index = torch.device(device).index
        return tensor.to(device if index is None or index < torch.cuda.device_count() else "cuda")
    if kind == "mps" and torch.backends.mps.is_available():
        return tensor.to("mps")
    return tensor
