"""The arithmetic of float32 products that the user chooses."""

import os

from nn_any.core.errors import InvalidValueError

MATHS = ("float32", "tf32", "bfloat16")
"""The arithmetic of float32 products: in float32, or on tensor cores with operands rounded to TF32 or bfloat16."""


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
