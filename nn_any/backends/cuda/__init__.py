"""CUDA sources, and what the host has to work out for them; nothing here imports a library that needs a GPU."""

from nn_any.backends.cuda.products import product_operands, product_options, product_tile
from nn_any.backends.cuda.recipes import FusedPlan, Unsuitable, plan_fused, products_fill_the_gpu, steps_a_launch
from nn_any.backends.cuda.sources import MATHS, chosen_math, source
from nn_any.backends.cuda.windows import window_shape

__all__ = [
    "MATHS",
    "FusedPlan",
    "Unsuitable",
    "chosen_math",
    "plan_fused",
    "product_operands",
    "product_options",
    "product_tile",
    "products_fill_the_gpu",
    "source",
    "steps_a_launch",
    "window_shape",
]
