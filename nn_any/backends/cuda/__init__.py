"""CUDA sources, and what the host has to work out for them; nothing here imports a library that needs a GPU."""

from nn_any.backends.cuda.precision import MATHS, chosen_math
from nn_any.backends.cuda.recipes import FusedPlan, Unsuitable, plan_fused, steps_a_launch
from nn_any.backends.cuda.sources import source
from nn_any.backends.cuda.windows import window_shape

__all__ = [
    "MATHS",
    "FusedPlan",
    "Unsuitable",
    "chosen_math",
    "plan_fused",
    "source",
    "steps_a_launch",
    "window_shape",
]
