"""Whether two values are the same: types to the last member, NaN equal to NaN, -0.0 unlike 0.0."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["assert_same", "difference"]


def assert_same(value: Any, expected: Any) -> None:
    """Fail with the first place where two values differ."""
    found = difference(value, expected)
    assert found is None, found


def difference(a: Any, b: Any, where: str = "value") -> str | None:
    """Return the first place where two values differ in type or content, or `None`."""
    if type(a) is not type(b):
        return f"{where}: {type(a)} and {type(b)}"
    if a is b:
        return None
    for kind, compare in _COMPARISONS.items():
        if isinstance(a, kind):
            return compare(a, b, where)
    module = type(a).__module__
    if module.startswith("torch"):
        return _tensors(a, b, where)
    if module.startswith("scipy.sparse"):
        return _matrices(a, b, where)
    if isinstance(a, str | bytes | int):
        return None if a == b else f"{where}: {a!r:.200} and {b!r:.200}"
    if isinstance(a, float):
        same = (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
        return None if same else f"{where}: {a!r} and {b!r}"
    if isinstance(a, complex):
        return difference([a.real, a.imag], [b.real, b.imag], where)
    if isinstance(a, dict):
        return _mappings(a, b, where)
    if isinstance(a, list | tuple):
        return _sequences(list(a), list(b), where) or _attributes(a, b, where)
    if isinstance(a, set | frozenset):
        return None if a == b and _types(a) == _types(b) else f"{where}: {a!r} and {b!r}"
    if dataclasses.is_dataclass(a) or hasattr(type(a), "model_fields"):
        return _attributes(a, b, where)
    same = repr(a) == repr(b) and (a == b or a != a)
    return None if same else f"{where}: {a!r} and {b!r}"


def _types(items: Any) -> list[str]:
    return sorted(f"{type(item)}{item!r}" for item in items)


def _sequences(a: list[Any], b: list[Any], where: str) -> str | None:
    if len(a) != len(b):
        return f"{where}: lengths {len(a)} and {len(b)}"
    differences = (
        difference(x, y, f"{where}[{number}]") for number, (x, y) in enumerate(zip(a, b, strict=True))
    )
    return next((found for found in differences if found), None)


def _mappings(a: dict[Any, Any], b: dict[Any, Any], where: str) -> str | None:
    return _sequences(list(a), list(b), f"{where} keys") or _sequences(
        list(a.values()), list(b.values()), f"{where} values"
    )


def _attributes(a: Any, b: Any, where: str) -> str | None:
    slots = [n for kind in type(a).__mro__ for n in vars(kind).get("__slots__", ()) if isinstance(n, str)]
    names = [n for n in slots if n not in ("__dict__", "__weakref__") and hasattr(a, n)]
    one, other = ({n: getattr(x, n, None) for n in names} | dict(getattr(x, "__dict__", {})) for x in (a, b))
    if one.keys() != other.keys():
        return f"{where}: attributes {sorted(one)} and {sorted(other)}"
    for name in one:
        found = difference(one[name], other[name], f"{where}.{name}")
        if found:
            return found
    for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        if getattr(a, name, None) != getattr(b, name, None):
            return f"{where}.{name}"
    return None


def _numpy_arrays(a: Any, b: Any, where: str) -> str | None:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{where}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
    if a.flags.writeable and not b.flags.writeable:
        return f"{where}: the second can't be written to"
    if isinstance(a, np.ma.MaskedArray):
        return (
            difference(np.ma.getmask(a), np.ma.getmask(b), f"{where}.mask")
            or difference(a.data, b.data, f"{where}.data")
            or difference(a.fill_value, b.fill_value, f"{where}.fill_value")
        )
    if a.dtype.hasobject:
        return _sequences(a.ravel().tolist(), b.ravel().tolist(), where)
    return None if a.tobytes() == b.tobytes() else f"{where}: {a!r} and {b!r}"


def _scalars(a: Any, b: Any, where: str) -> str | None:
    same = a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return None if same else f"{where}: {a!r} and {b!r}"


def _indexes(a: Any, b: Any, where: str) -> str | None:
    found = _sequences(list(a.names), list(b.names), f"{where}.names")
    if found:
        return found
    if isinstance(a, pd.MultiIndex):
        return _sequences(list(a.levels), list(b.levels), f"{where}.levels") or _sequences(
            [np.asarray(codes) for codes in a.codes],
            [np.array(codes) for codes in b.codes],
            f"{where}.codes",
        )
    for name in ("freq", "start", "stop", "step"):
        found = difference(getattr(a, name, None), getattr(b, name, None), f"{where}.{name}")
        if found:
            return found
    return None if isinstance(a, pd.RangeIndex) else _columns(a.array, b.array, where)


def _columns(a: Any, b: Any, where: str) -> str | None:
    if type(a) is not type(b) or a.dtype != b.dtype or repr(a.dtype) != repr(b.dtype) or len(a) != len(b):
        return f"{where}: {a.dtype!r} and {b.dtype!r}, {len(a)} and {len(b)}"
    if isinstance(a.dtype, pd.CategoricalDtype):
        return difference(a.categories, b.categories, f"{where}.categories") or difference(
            np.array(a.codes), np.array(b.codes), f"{where}.codes"
        )
    if isinstance(a.dtype, pd.IntervalDtype):
        return difference(a.left, b.left, f"{where}.left") or difference(a.right, b.right, f"{where}.right")
    if isinstance(a.dtype, pd.SparseDtype):
        if not a.sp_index.equals(b.sp_index) or a.kind != b.kind:
            return f"{where}: positions of sparse values"
        return difference(np.array(a.sp_values), np.array(b.sp_values), where)
    if isinstance(a.dtype, np.dtype):
        return difference(np.array(a.to_numpy()), np.array(b.to_numpy()), where)
    return _sequences(list(a), list(b), where)


def _series(a: Any, b: Any, where: str) -> str | None:
    return (
        difference(a.name, b.name, f"{where}.name")
        or difference(a.index, b.index, f"{where}.index")
        or difference(a.attrs, b.attrs, f"{where}.attrs")
        or difference(a.flags.allows_duplicate_labels, b.flags.allows_duplicate_labels, f"{where}.flags")
        or _columns(a.array, b.array, where)
    )


def _frames(a: Any, b: Any, where: str) -> str | None:
    found = (
        difference(a.index, b.index, f"{where}.index")
        or difference(a.columns, b.columns, f"{where}.columns")
        or difference(a.attrs, b.attrs, f"{where}.attrs")
        or difference(a.flags.allows_duplicate_labels, b.flags.allows_duplicate_labels, f"{where}.flags")
    )
    for number in range(a.shape[1]):
        found = found or _columns(a.iloc[:, number].array, b.iloc[:, number].array, f"{where}[{number}]")
    return found


def _matrices(a: Any, b: Any, where: str) -> str | None:
    if (a.dtype, a.shape, a.format) != (b.dtype, b.shape, b.format):
        return f"{where}: {a!r} and {b!r}"
    found = difference(np.array(a.toarray()), np.array(b.toarray()), where)
    for name in ("data", "indices", "indptr", "offsets", "row", "col"):
        if isinstance(getattr(a, name, None), np.ndarray):
            found = found or difference(getattr(a, name), getattr(b, name), f"{where}.{name}")
    return found


def _tensors(a: Any, b: Any, where: str) -> str | None:
    import torch

    if isinstance(a, torch.nn.Module):
        return _modules(a, b, where)
    if not isinstance(a, torch.Tensor):
        return None if a == b else f"{where}: {a!r} and {b!r}"
    if isinstance(a, torch.nn.parameter.UninitializedTensorMixin):
        return None if a.requires_grad == b.requires_grad else f"{where}.requires_grad"
    facts = [(t.dtype, t.layout, t.requires_grad, str(t.device), t.is_nested) for t in (a, b)]
    if facts[0] != facts[1]:
        return f"{where}: {facts[0]} and {facts[1]}"
    if a.is_nested:
        return _sequences(list(a.unbind()), list(b.unbind()), where)
    if a.shape != b.shape:
        return f"{where}: {a.shape} and {b.shape}"
    one, other = (t.detach().to_dense() if t.layout is not torch.strided else t.detach() for t in (a, b))
    one, other = (t.dequantize() if t.is_quantized else t for t in (one, other))
    same = torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    return None if same else f"{where}: {a!r} and {b!r}"


def _modules(a: Any, b: Any, where: str) -> str | None:
    if a.training != b.training:
        return f"{where}.training"
    one, other = a.state_dict(keep_vars=True), b.state_dict(keep_vars=True)
    found = _mappings(dict(one), dict(other), f"{where}.state_dict()")
    names = [[(n, type(m)) for n, m in module.named_modules()] for module in (a, b)]
    found = found or (None if names[0] == names[1] else f"{where}.modules()")
    ignored = {"_parameters", "_buffers", "_modules", "_flat_weight_refs"}
    for name in set(vars(a)) - ignored:
        if name not in vars(b):
            return f"{where}.{name} is missing"
        item = vars(a)[name]
        if name.endswith("_hooks") or "hook" in name or callable(item):
            continue
        found = found or difference(item, vars(b)[name], f"{where}.{name}")
    if repr(a) != repr(b):
        return f"{where}: {a!r} and {b!r}"
    children = zip(a.named_children(), b.children(), strict=True)
    return found or next((d for (n, x), y in children if (d := _modules(x, y, f"{where}.{n}"))), None)


_COMPARISONS = {
    pd.DataFrame: _frames,
    pd.Series: _series,
    pd.Index: _indexes,
    pd.api.extensions.ExtensionArray: _columns,
    np.ndarray: _numpy_arrays,
    np.generic: _scalars,
}
