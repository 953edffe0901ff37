"""The CUDA sources that come with the package, and the C names of dtypes."""

from functools import cache
from importlib.resources import files

C_TYPES = {
    "bool": "bool",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}
"""What CUDA C++ calls a dtype."""


@cache
def source(name: str) -> str:
    """The text of the CUDA source called `name`.

    Examples
    --------
    >>> "fused_mlp(" in source("fused_mlp")
    True
    """
    return (files(__package__) / f"{name}.cu").read_text(encoding="utf-8")
