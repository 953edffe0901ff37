"""SavableCommittee: many networks side by side that go into one file, and their training, too."""

from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np

from nn_any import validation as check
from nn_any.backends import Device, select_device, to_numpy
from nn_any.checkpoints import with_leaves
from nn_any.committee import Committee
from nn_any.core import activations, architecture, functional, initializers, layers, losses, random
from nn_any.core.errors import ModelFileError
from nn_any.core.trees import tree_map
from nn_any.core.typing import Carry, Params
from nn_any.files import describing, find_tensors, load_model
from nn_any.history import Record


class SavableCommittee(Committee):
    """Networks of the same layers with their files. See `Ensemble`."""

    learning_rates: tuple[float, ...] | None
    weight_decays: tuple[float, ...] | None
    epochs: tuple[int, ...]
    _member_records: list[list[Record]]

    def _description(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("seeds", "learning_rates", "weight_decays", "epochs")}
        own["member_steps"] = [int(step) for carry in self._carries for step in to_numpy(carry[3])]
        return super()._description() | {"ensemble": own | {"diverged": self.diverged.tolist()}}

    def _tensors(self) -> dict[str, Any]:
        together = super()._tensors()
        return {f"members.{i}.{name}": array[i] for i in range(len(self)) for name, array in together.items()}

    @classmethod
    def load(cls, path: str | PathLike[str], device: str | Device | None = None) -> Self:
        """The ensemble in a model file that `save` wrote, whichever device wrote it; as `Network.load`."""
        about, tensors = load_model(path)
        with describing(path):
            if "ensemble" not in about:
                raise ModelFileError(f"{path}: expected an ensemble, got one network; use nn_any.Network.load")
            own, loss = about["ensemble"], losses.from_config(about["loss"])
            stack = [tuple(about["input_shape"]), *(layers.from_config(config) for config in about["layers"])]
            settings = {name: own[name] for name in ("seeds", "learning_rates", "weight_decays")}
            dtype, n = check.check_dtype(about["dtype"]), len(own["seeds"])
        select_device(device).check_dtype(dtype)
        with describing(path):
            built = architecture.build(stack, activations.get("sigmoid"), initializers.get("normal"), loss)
            for i in range(n):  # before anything of these sizes is drawn
                find_tensors(path, built, _of_member(i, tensors))
            make: Any = cls
            net: Self = make(stack, n, loss=loss, dtype=dtype, device=device, **settings)
            net._carry = net._read_all(path, about, tensors)
        return net

    def _read_all(self, path: str | PathLike[str], about: dict[str, Any], tensors: dict[str, np.ndarray]) -> Carry:
        """The state of all members in a file, without an optimiser's; counts the epochs as it has them."""
        own, device = about["ensemble"], self.device
        self.seeds, self.epochs = tuple(own["seeds"]), tuple(own["epochs"])
        self.epoch, self.steps = int(about["epoch"]), int(about["steps"])
        self.diverged = np.array(own["diverged"], dtype=bool)
        params, state = self._read(path, tensors)
        steps = device.asarray(np.array(own["member_steps"], dtype="int32"))
        keys = device.asarray(np.stack([random.draw_key(seed) for seed in self.seeds]))
        return params, state, (), steps, keys

    def _read(self, path: str | PathLike[str], tensors: dict[str, np.ndarray]) -> tuple[Params, Params]:
        each = [find_tensors(path, self._architecture, _of_member(i, tensors)) for i in range(len(self))]
        params, state = tree_map(lambda *leaves: np.stack(leaves), *each)
        return self._place(params), self._place(state)

    # checkpoints

    def _training_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        about, arrays = super()._training_state()
        return about | {"member_records": self._member_records}, arrays

    def _take_up(
        self, path: Path, about: dict[str, Any], tensors: dict[str, np.ndarray], training: dict[str, Any]
    ) -> None:
        params, state, _, steps, keys = self._read_all(path, about, tensors)
        self._records, self._stale = training["records"], training["stale"]
        self._member_records = training["member_records"]
        optimizer_state: Any = ()
        if not self._stale and self._optimizer is not None:
            one = functional.trained(self.layers, tree_map(lambda leaf: leaf[0, ...], params))
            first = self.device.engine.compile(self._optimizer.rule().init)(one)
            shapes = tree_map(lambda leaf: np.empty((len(self), *leaf.shape), np.uint8), first)
            if self.weight_decays is not None:
                shapes = (np.empty(len(self), np.uint8), shapes)
            optimizer_state = self._place(with_leaves(shapes, "training.optimizer", tensors))
        self._carry = (params, state, optimizer_state, steps, keys)


def _of_member(i: int, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of one member, under the names that they have in the file of a network."""
    mine = f"members.{i}."
    return {name.removeprefix(mine): array for name, array in tensors.items() if name.startswith(mine)}
