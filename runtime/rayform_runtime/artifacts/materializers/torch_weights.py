"""Named tensors as files: safetensors, or `torch.save` for tensors that safetensors can't hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.materializers.base import needs, short

if TYPE_CHECKING:
    import torch

__all__ = ["load_tensors", "save_tensors", "unlike"]

_SAFE, _WEIGHTS = "tensors.safetensors", "tensors.pt"


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether safetensors holds such a tensor."""
    import torch

    return (
        tensor.layout is torch.strided
        and not tensor.is_nested
        and not tensor.is_complex()
        and not tensor.is_quantized
        and not tensor.is_meta
    )


def save_tensors(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write tensors by name; complex, sparse, nested and quantized ones with `torch.save`.

    Raises:
        UsageError: PyTorch itself can't save a tensor.
    """
    with needs("torch"):
        import torch
        from safetensors.torch import save_file

    plain: dict[str, torch.Tensor] = {}
    others: dict[str, torch.Tensor] = {}
    strides: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        data = tensor.detach()
        if _is_plain(data):
            # Copied into contiguous memory of its own: safetensors refuses tensors that share memory.
            plain[name] = torch.empty(data.shape, dtype=data.dtype).copy_(data)
            if not data.is_contiguous() and torch.ops.aten.is_non_overlapping_and_dense(data):
                strides[name] = list(data.stride())
        else:
            others[name] = data if data.is_meta else data.cpu()
    if plain:
        save_file(plain, folder / _SAFE, metadata={"strides": json.dumps(strides)} if strides else None)
    if others:
        try:
            torch.save(others, folder / _WEIGHTS)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            raise UsageError(
                f"A PyTorch tensor can't be stored (one of {', '.join(sorted(others))}).",
                why=f"torch.save reports: {short(str(error), 200)}",
                hint="Turn it into a dense tensor first, for instance tensor.to_dense().",
            ) from error


def load_tensors(folder: Path, devices: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Read tensors by name, each onto its device if this machine has it, otherwise onto the CPU."""
    with needs("torch"):
        import torch
        from safetensors import safe_open
        from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    if (folder / _SAFE).exists():
        tensors.update(load_file(folder / _SAFE))
        with safe_open(folder / _SAFE, "pt") as file:
            strides = json.loads((file.metadata() or {}).get("strides", "{}"))
        for name, stride in strides.items():
            data = tensors[name]
            tensors[name] = torch.empty_strided(data.shape, stride, dtype=data.dtype).copy_(data)
    if (folder / _WEIGHTS).exists():
        tensors.update(torch.load(folder / _WEIGHTS, map_location=_to_cpu, weights_only=True))
    return {name: _onto(tensor, devices.get(name, "cpu")) for name, tensor in tensors.items()}


def _to_cpu(storage: Any, location: str) -> Any:
    return storage if location == "meta" else storage.cpu()


def unlike(tensors: Mapping[str, torch.Tensor], folder: Path) -> str:
    """Return in one sentence how the files differ from the tensors, or an empty text; reads no weights.

    Files of `torch.save` are mapped, which reads their structure.
    """
    import torch
    from safetensors import safe_open

    facts: dict[str, tuple[str, list[int]]] = {}
    if (folder / _SAFE).exists():
        with safe_open(folder / _SAFE, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                data = file.get_slice(name)
                facts[name] = (data.get_dtype(), data.get_shape())
    others: dict[str, torch.Tensor] = {}
    if (folder / _WEIGHTS).exists():
        others = torch.load(folder / _WEIGHTS, map_location=_to_cpu, weights_only=True, mmap=True)
    for name, tensor in tensors.items():
        if name in facts:
            if facts[name][1] != list(tensor.shape):
                return f"'{name}' has shape {list(tensor.shape)}, and the file has {facts[name][1]}."
        elif name not in others or others[name].dtype != tensor.dtype or others[name].layout != tensor.layout:
            return f"'{name}' is missing in the files, or of another type there."
    return ""


def _onto(tensor: torch.Tensor, device: str) -> torch.Tensor:
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda" and torch.cuda.is_available():
        index = torch.device(device).index
        return tensor.to(device if index is None or index < torch.cuda.device_count() else "cuda")
    if kind == "mps" and torch.backends.mps.is_available():
        return tensor.to("mps")
    return tensor
