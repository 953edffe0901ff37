"""Savable: a model that goes into a file and comes out of one."""

from os import PathLike
from typing import Any, Self

from nn_any import validation as check
from nn_any.backends import Device, select_device
from nn_any.core import layers, losses
from nn_any.core.errors import ModelFileError
from nn_any.core.typing import Params
from nn_any.files import describing, find_tensors, load_model, name_tensors, save_model
from nn_any.model import Model


class Savable(Model):
    """A model with its files. See `Network` for the parameters."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a model file (safetensors): whole, or not at all.

        The file holds the architecture, the parameters, and where training stands, but no optimiser state.

        Raises
        ------
        ValueError
            If a layer, loss or activation of your own is not registered, since `load` could not build it.
        OSError
            If the file cannot be written; a file that was there stays as it was.
        """
        save_model(path, self._description(), self._tensors())

    def _tensors(self) -> dict[str, Any]:
        """Parameters and running averages on the host, by their places."""
        return name_tensors(self.layers, *self._carry[:2])

    def _read(self, path: str | PathLike[str], tensors: dict[str, Any]) -> tuple[Params, Params]:
        """The parameters and running averages that `_tensors` gave, on the network's device."""
        params, state = find_tensors(path, self._architecture, tensors)
        return self._place(params), self._place(state)

    def _description(self) -> dict[str, Any]:
        """What a model file says beside the tensors, as JSON can hold it."""
        return {
            "input_shape": self.input_shape,
            "layers": [layers.to_config(layer) for layer in self.layers],
            "loss": losses.to_config(self._loss),
            "dtype": self.dtype,
            "seed": self.seed,
            "epoch": self.epoch,
            "steps": self.steps,
        }

    @classmethod
    def load(cls, path: str | PathLike[str], device: str | Device | None = None) -> Self:
        """The network in a model file, whichever device wrote it.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ModelFileError
            If it is damaged, of another kind, from a newer version, or does not fit together; it is a ValueError.
        """
        about, tensors = load_model(path)
        if "ensemble" in about:
            raise ModelFileError(f"{path}: expected one network, got an ensemble; use nn_any.Ensemble.load")
        net, place = object.__new__(cls), select_device(device)
        with describing(path):
            stack = [tuple(about["input_shape"]), *(layers.from_config(config) for config in about["layers"])]
            loss, dtype = losses.from_config(about["loss"]), check.check_dtype(about["dtype"])
            epoch, steps = (check.check_integer(name, about[name], minimum=0) for name in ("epoch", "steps"))
            seed = check.check_seed(about["seed"])
        place.check_dtype(dtype)
        with describing(path):
            net._build(stack, "sigmoid", loss, "normal", place, dtype, seed)
            net.epoch, net.steps = epoch, steps
            net._carry = net._carry_of(*find_tensors(path, net._architecture, tensors))
        return net
