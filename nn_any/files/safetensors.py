"""Reading safetensors files that may have been forged: every number in the header is checked before it is used.

The format: 8 bytes, the length of the header; the header, JSON, with the dtype, shape and place of each tensor and a
table of texts; then the bytes of the tensors, end to end.

Reference: Hugging Face, "Safetensors format", https://github.com/huggingface/safetensors#format.
"""

import json
import math
from typing import Any

import numpy as np

DTYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
LONGEST = 2**25  # bytes of JSON
_MOST_CONTAINERS, _MOST_VALUES, _DEEPEST = 200_000, 2_000_000, 32  # what JSON may hold before it is parsed
_MOST_AXES = 32


def parse_json(text: bytes) -> Any:
    """What a text in JSON says, if it is of a size and depth that a model can have.

    Raises
    ------
    ValueError
        If it is not JSON in UTF-8, or longer, fuller or deeper than these bounds, or names a key twice.
    """
    if len(text) > LONGEST:
        raise ValueError(f"expected JSON of at most {LONGEST:,} bytes, got {len(text):,}")
    if text.count(b"{") + text.count(b"[") > _MOST_CONTAINERS or text.count(b",") > _MOST_VALUES:
        raise ValueError(f"expected at most {_MOST_CONTAINERS:,} lists and {_MOST_VALUES:,} values in JSON, got more")
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError(f"expected JSON of at most {_DEEPEST} levels, got more") from error
    level = [value]
    for _ in range(_DEEPEST):
        children = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [child for each in children for child in each]
    if level:
        raise ValueError(f"expected JSON of at most {_DEEPEST} levels, got more")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("expected each key once in JSON, got one twice")
    return table


def parse(content: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The texts and the tensors of a safetensors file; the tensors are read-only views of `content`.

    Raises
    ------
    ValueError
        If it is not such a file, is cut short or too long, or any two numbers in it contradict each other.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise ValueError(f"expected a header of {length:,} bytes, got {max(len(content) - 8, 0):,} in all")
    header = parse_json(content[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError(f"expected a table for a header, got {type(header).__name__}")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("expected texts for metadata, got something else")
    start, stop = 8 + length, 0
    tensors = {}
    for name, entry in sorted(header.items(), key=lambda item: _offsets(*item)):
        begin, end = _offsets(name, entry)
        dtype, shape = _dtype_and_shape(name, entry)
        if begin != stop or end - begin != math.prod(shape) * dtype.itemsize or start + end > len(content):
            raise ValueError(f"tensor {name!r}: expected {shape} of {dtype} from byte {stop}, got {begin} … {end}")
        tensors[name] = np.frombuffer(content, dtype, math.prod(shape), start + begin).reshape(shape)
        stop = end
    if start + stop != len(content):
        raise ValueError(f"expected {stop:,} bytes of tensors, got {len(content) - start:,}")
    return texts, tensors


def _offsets(name: str, entry: Any) -> tuple[int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r}: expected dtype, shape and data_offsets, got something else")
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise ValueError(f"tensor {name!r}: expected two offsets, got something else")
    return offsets[0], offsets[1]


def _dtype_and_shape(name: str, entry: dict[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    dtype, shape = entry["dtype"], entry["shape"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name!r}: expected a dtype of {', '.join(DTYPES)}, got another")
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(map(_is_size, shape)):
        raise ValueError(f"tensor {name!r}: expected a shape of at most {_MOST_AXES} axes, got something else")
    return np.dtype(DTYPES[dtype]), tuple(shape)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63
