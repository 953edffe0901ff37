"""Resumable: a network that can say where its training stands, and go on from there."""

from pathlib import Path
from typing import Any

import numpy as np

from nn_any.checkpoints import leaves, with_leaves
from nn_any.core import functional, random
from nn_any.core.lbfgs import LBFGSState
from nn_any.core.optimizers import Optimizer
from nn_any.differentiation import Differentiable
from nn_any.mini_batches import Partial


class Resumable(Differentiable):
    """A network whose training can be written down and taken up. See `Checkpoint`."""

    _optimizer: Optimizer | None

    def _training_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Where training stands beyond the weights: as JSON can hold it, and as arrays on the host."""
        arrays = leaves(self._carry[2], "optimizer")
        about: dict[str, Any] = {"records": self._records, "stale": self._stale, "partial": None}
        if self._partial is not None:
            about["partial"] = list(self._partial.kind)
            arrays["losses"] = self._partial.losses
        if self._search is not None:
            arrays |= {f"search.{name}": array for name, array in self._search._asdict().items()}
        return about, arrays

    def _take_up(
        self, path: Path, about: dict[str, Any], tensors: dict[str, np.ndarray], training: dict[str, Any]
    ) -> None:
        """Stand where a checkpoint of a network of the same layers stands."""
        arrays = {
            name.removeprefix("training."): array for name, array in tensors.items() if name.startswith("training.")
        }
        params, state = self._read(path, tensors)
        self.seed, self.epoch, self.steps = about["seed"], about["epoch"], about["steps"]
        self._records, self._stale = training["records"], training["stale"]
        optimizer_state: Any = ()
        if not self._stale and self._optimizer is not None:
            first = self.device.engine.compile(self._optimizer.init)(functional.trained(self.layers, params))
            optimizer_state = self._place(with_leaves(first, "optimizer", arrays))
        step, key = self.device.asarray(self.steps, "int32"), self.device.asarray(random.draw_key(self.seed), "int32")
        self._carry = (params, state, optimizer_state, step, key)
        self._partial = self._search = None
        if training["partial"] is not None:
            n, batch_size, shuffle = training["partial"]
            self._partial = Partial((n, batch_size, shuffle), arrays["losses"])
        if "search.x" in arrays:
            self._search = LBFGSState(**{name: arrays[f"search.{name}"] for name in LBFGSState._fields})
