"""Words for error messages: what a value is, what an annotation wants, and what brings the one to the other."""

import os
import reprlib
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
from jaxtyping import AbstractArray
from PIL import Image

LONGEST = 160
"""Characters of a description: enough for a list of shapes, and never a list of a thousand labels."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_NAMES: dict[Any, str] = {
    float: "a finite number",
    int: "a whole number",
    bool: "True or False",
    str: "a string",
    None: "None",
}
_NAMES |= {type(None): "None", Callable: "a function"}
_NAMES |= {Image.Image: "a PIL picture", os.PathLike: "a path", Path: "a path", np.ndarray: "a numpy array"}
_TORCH = {
    "Generator": "torch.Generator",
    "Module": "torch.nn.Module",
    "device": "torch.device",
    "dtype": "torch.dtype",
}
_PLURALS = {
    "a finite number": "finite numbers",
    "a whole number": "whole numbers",
    "a string": "strings",
    "a PIL picture": "PIL pictures",
    "a picture": "pictures",
}
_AXES = {
    "b": "images",
    "v": "views",
    "t": "tokens",
    "d": "width",
    "h": "heads",
    "k": "prototypes",
    "c": "channels",
}
_AXES |= {"m": "rows"}
_KINDS = (
    *(("bool", "bool"), ("int64", "integer"), ("uint8", "uint8"), ("int8", "int8")),
    ("float16", "floating-point"),
)


def describe(value: Any) -> str:
    """Say in a few words what a value is: a tensor's dtype and shape, a list's length, a type, never a long text."""
    if _is_tensor(value):
        text = f"{_a(str(value.dtype).removeprefix('torch.'))} tensor of shape {tuple(value.shape)}"
    elif isinstance(value, np.ndarray):
        text = f"{_a(str(value.dtype))} array of shape {value.shape}"
    elif isinstance(value, tuple) and len(value) == 2 and all(map(_is_tensor, value)):
        text = f"({describe(value[0])}, {describe(value[1])})"
    elif isinstance(value, (list, tuple)) and (shapes := _shapes(value)):
        text = f"a {type(value).__name__} of tensors of shapes {shapes[1:-1]}"
    elif callable(value):  # a network, a function, a class
        text = f"{getattr(value, '__name__', type(value).__name__)} ({type(value).__name__})"
    else:
        text = f"{' '.join(_SHORT.repr(value).split())} ({type(value).__name__})"  # arrays have lines
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def _is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch, which need not be loaded to know that."""
    return str(getattr(value, "dtype", "")).startswith("torch.") and hasattr(value, "shape")


def _shapes(value: Any) -> str:
    """The shapes of a list of tensors, or of lists of them; "" where anything else is inside."""
    if _is_tensor(value):
        return str(tuple(value.shape))
    inner = [_shapes(one) for one in value[:20]] if isinstance(value, (list, tuple)) else []
    return f"[{', '.join(inner)}]" if inner and all(inner) else ""


def wanted(hint: Any) -> str:
    """Say what an annotation asks for, such as "a floating-point tensor of shape (b, d)"."""
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return _wanted_array(hint)
    if origin in (Union, types.UnionType):
        readable = {str, os.PathLike, Image.Image} <= set(inner)  # `pictures.Picture`, in a word
        inner = tuple(
            one for one in inner if not readable or get_origin(one) or isinstance(one, type(AbstractArray))
        )
        words = list(dict.fromkeys([*map(wanted, inner), *["a picture"] * readable]))
        return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    if origin is Literal:
        return " or ".join(repr(one) for one in inner)
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        words = [wanted(one) for one in inner]
        if len(set(words)) == 1 and words[0] in _PLURALS:
            return f"{len(words)} {_PLURALS[words[0]]}"
        return f"({', '.join(words)})"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a dictionary from {_several(inner[0])} to {_several(inner[1])}"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"a {'tuple' if origin is tuple else 'list'} of {_several(inner[0])}"
    hint = origin or hint
    name = getattr(hint, "__name__", str(hint))
    return _NAMES.get(hint) or _a(_TORCH.get(name, name))


def _a(noun: str) -> str:
    return f"an {noun}" if noun[:1] in tuple("aeioAEIO") else f"a {noun}"  # a uint8


def _several(hint: Any) -> str:
    words = wanted(hint)
    return "anything" if hint is Any else _PLURALS.get(words, f"{words.removeprefix('a ')} each")


def _wanted_array(hint: Any) -> str:
    kind = next((words for dtype, words in _KINDS if dtype in hint.dtypes), "")
    axes = ["..." if axis.startswith(("*", "...")) else axis for axis in hint.dim_str.split()]
    axes = [f"{axis}: {_AXES[axis]}" if axis in _AXES else _numbered(axis) for axis in axes]
    shape = f"({', '.join(axes)}{',' if len(axes) == 1 and axes[0] != '...' else ''})"
    what = "array" if hint.array_type is np.ndarray else "tensor"
    polarity = ", True = masked" if kind == "bool" and what == "tensor" and axes[-1:] == ["n"] else ""
    return f"{_a(kind)} {what} of shape {shape}{polarity}"


def _numbered(axis: str) -> str:
    """Turn an axis such as "top_left=2" into "2: top, left"."""
    names, _, length = axis.rpartition("=")
    return f"{length}: {names.replace('_', ', ')}" if names else axis


def advice(value: Any, hint: Any) -> str:
    """What to do with a value that is not what the annotation asks for; "" where nothing is known."""
    arrays = [
        one for one in (hint, *get_args(hint)) if isinstance(one, type) and issubclass(one, AbstractArray)
    ]
    if arrays and arrays[0].array_type is not np.ndarray and isinstance(value, (np.ndarray, list)):
        return (
            ""
            if isinstance(value, list) and any(get_origin(one) is list for one in get_args(hint))
            else ": use torch.as_tensor"
        )
    if arrays and _is_tensor(value):
        return _advice_on_tensor(value, arrays)
    if wanted(hint).startswith("a function"):
        return ": hand over the function itself, without brackets"
    names = [getattr(one, "__name__", "") for one in (hint, *get_args(hint))]
    if "Generator" in names and isinstance(value, int):
        return f": use torch.Generator().manual_seed({value})"
    return ""


def _advice_on_tensor(value: Any, hints: list[Any]) -> str:
    ranks = {len(hint.dim_str.split()) for hint in hints}
    pictures = any(hint.dim_str.endswith("height width") for hint in hints)
    kinds = {kind for hint in hints for kind in hint.dtypes}
    if pictures and value.ndim == 3 and 4 in ranks:
        return ": add the batch axis with images[None]"
    if value.is_complex() or str(value.dtype).removeprefix("torch.") in kinds:
        return ""
    if pictures and str(value.dtype) == "torch.uint8":
        return ": divide bytes by 255, then normalise"
    if pictures and kinds == {"uint8"} and value.is_floating_point():
        return ": use (255 * images).round().byte()"
    if "bool" in kinds:
        return ": use .bool()"
    return ": use .float()" if "float32" in kinds else ": use .long()" if "int64" in kinds else ""
