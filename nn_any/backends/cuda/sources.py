"""The CUDA sources that come with the package, the C names of dtypes, and the arithmetic that the user chooses."""

import os
from functools import cache
from importlib.resources import files

from nn_any.core.errors import InvalidValueError

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

MATHS = ("float32", "tf32", "bfloat16")
"""The arithmetic of float32 products: in float32, or on tensor cores with operands rounded to TF32 or bfloat16."""


@cache
def source(name: str) -> str:
    """The text of the CUDA source called `name`.

    Examples
    --------
    >>> "fused_mlp(" in source("fused_mlp")
    True
    """
    return (files(__package__) / f"{name}.cu").read_text(encoding="utf-8")


def chosen_math() -> str:
    """The arithmetic of float32 products that the variable ``NN_ANY_CUDA_MATH`` names; the first of `MATHS` by default.

    Raises
    ------
    ValueError
        If it says something else.
    """
    math = os.environ.get("NN_ANY_CUDA_MATH") or MATHS[0]
    if math not in MATHS:
        raise InvalidValueError(f"NN_ANY_CUDA_MATH: expected one of {', '.join(MATHS)}, got {math!r}")
    return math


def device_math(name: str) -> str:
    """The arithmetic of float32 products on the device called `name`: what was chosen for CUDA, else the first."""
    return chosen_math() if name.startswith("cuda") else MATHS[0]
