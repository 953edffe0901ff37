"""What PyTorch would launch on a GPU, counted on the CPU: each operation that is no view, and makes no empty tensor."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_NO_KERNEL = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "detach", "lift_fresh"} | {
    "_unsafe_view"
}


class Launches(TorchDispatchMode):
    """A context that counts the operations in it, in `counts`, by their names.

    It stands for the nodes of a captured graph. A GPU takes two for some operations, such as a sum of many numbers, or
    a product whose sum is split.
    """

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        same = isinstance(result, torch.Tensor) and any(result is each for each in args) and name in ("_to_copy",)
        if not func.is_view and name not in _NO_KERNEL and not same:
            self.counts[name] += 1
        return result

    def __len__(self):
        return self.counts.total()
