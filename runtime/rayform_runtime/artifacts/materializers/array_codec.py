"""Small NumPy arrays, arrays of Python objects and of variable text, and dtypes, as JSON; a part of `json_codec`."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "DECODERS",
    "MEMBER_DECODERS",
    "encode_dtype",
    "encode_objects",
    "encode_small_array",
    "holds_objects",
]

_SMALL = 4096
"""Bytes; larger data goes into a file of its own."""


def encode_small_array(value: np.ndarray | np.generic) -> Any:
    """Return the JSON form of a small array or a scalar, or `None` if it needs a file."""
    import numpy as np

    kind = type(value)
    if kind is not np.ndarray and not isinstance(value, np.generic):
        return None
    if value.nbytes > _SMALL or value.dtype.hasobject or value.dtype.names is not None:
        return None
    data = b64encode(np.asarray(value).tobytes()).decode()
    if isinstance(value, np.generic):
        # The text is for users who open the file; loading reads `data`.
        return {"$numpy": [value.dtype.str, data, str(value)]}
    return {"$ndarray": [value.dtype.str, list(value.shape), data]}


def holds_objects(value: object) -> bool:
    """Whether this is a plain array of dtype `object` or `StringDType`, whose elements are encoded one by one."""
    import numpy as np

    return type(value) is np.ndarray and value.dtype.kind in "OT"


def encode_objects(value: np.ndarray, encode: Callable[[list[object]], Any]) -> Any:
    """Return the JSON form of an array for which `holds_objects`.

    Args:
        value: the array.
        encode: returns the JSON form of the list of its elements, in C order.
    """
    # Not by `tolist`, which turns an array in an array of objects into lists.
    elements = encode(list(value.reshape(-1).flat))
    if value.dtype.kind == "O":
        return {"$objects": [list(value.shape), elements]}
    dtype: Any = value.dtype
    missing = [dtype.na_object] if hasattr(dtype, "na_object") else []
    return {"$strings": [list(value.shape), elements, encode(missing), bool(dtype.coerce)]}


def encode_dtype(dtype: np.dtype, where: str) -> Any:
    """Return the JSON form of a dtype.

    Raises:
        UsageError: it would come back as another one.
    """
    import numpy as np

    form = np.lib.format.dtype_to_descr(dtype) if dtype.names is not None else dtype.str
    if _decode_dtype(form) != dtype:
        raise UsageError(f"The NumPy dtype '{dtype}' can't be stored{f' (at {where})' if where else ''}.")
    return form


def _decode_dtype(form: Any) -> np.dtype:
    import numpy as np

    if isinstance(form, str):
        return np.dtype(form)
    fields: Any = [tuple(tuple(part) if isinstance(part, list) else part for part in field) for field in form]
    return np.lib.format.descr_to_dtype(fields)


def _decode_numpy(dtype: str, data: str, text: str = "") -> object:
    import numpy as np

    return np.frombuffer(b64decode(data), dtype=np.dtype(dtype))[0]


def _decode_ndarray(dtype: str, shape: Sequence[int], data: str) -> object:
    import numpy as np

    return np.frombuffer(bytearray(b64decode(data)), dtype=np.dtype(dtype)).reshape(shape)


def _filled(shape: Sequence[int], elements: Sequence[object], dtype: Any) -> object:
    import numpy as np

    if math.prod(shape) != len(elements):
        raise ValueError(f"{len(elements)} elements don't fill an array of shape {tuple(shape)}")
    array: Any = np.empty(len(elements), dtype=dtype)
    for index, element in enumerate(elements):  # one by one: `array[:] = elements` would unpack lists
        array[index] = element
    return array.reshape(shape)


def _decode_objects(shape: Sequence[int], elements: Sequence[object]) -> object:
    return _filled(shape, elements, object)


def _decode_strings(
    shape: Sequence[int], elements: Sequence[object], missing: Sequence[object], coerce: bool
) -> object:
    import numpy as np

    options = {"na_object": missing[0]} if missing else {}
    return _filled(shape, elements, np.dtypes.StringDType(coerce=coerce, **options))


DECODERS: dict[str, Callable[..., object]] = {"$dtype": _decode_dtype}
MEMBER_DECODERS: dict[str, Callable[..., object]] = {
    "$numpy": _decode_numpy,
    "$ndarray": _decode_ndarray,
    "$objects": _decode_objects,
    "$strings": _decode_strings,
}
