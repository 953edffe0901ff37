"""Model: layers and their parameters on a device, without the training. `Network` builds on it."""

import math
from typing import Any, Self

from nn_any import validation as check
from nn_any.backends import Device, is_host, select_device, to_numpy
from nn_any.core import activations, architecture, initializers, losses, random
from nn_any.core.activations import LINEAR
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.layers import Layer
from nn_any.core.losses import Loss
from nn_any.core.optimizers import Optimizer
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array, Carry, Params
from nn_any.summary import parameter_count, shape_text, summary_table

_AT_A_PLACE = 16  # times as long takes what a convolution multiplies: windows are unfolded, and filters are few


class Model:
    """Layers, a loss, and parameters on a device. See `Network`, which trains it, for the parameters."""

    def __init__(
        self,
        layers: Any,
        *,
        activation: Any = "sigmoid",
        loss: str | Loss = "quadratic",
        initializer: Any = "normal",
        device: str | Device | None = None,
        dtype: str = "float32",
        seed: int | None = None,
    ) -> None:
        self._build(layers, activation, loss, initializer, device, dtype, seed)
        self._carry: Carry = self._initial_carry()

    def _build(
        self, layers: Any, activation: Any, loss: Any, initializer: Any, device: Any, dtype: Any, seed: int | None
    ) -> None:
        """Everything but the numbers."""
        self._loss = losses.get(loss)
        self._activation = activations.get(activation)
        self._initializer = initializers.get(initializer)
        self._architecture = architecture.build(layers, self._activation, self._initializer, self._loss)
        self.dtype = check.check_dtype(dtype)
        self.seed = random.new_seed() if seed is None else check.check_seed(seed)
        self.device = select_device(device)
        self.device.check_dtype(self.dtype)
        self._optimizer: Optimizer | None = None
        self._stale = True  # whether the optimiser's state is of other parameters than those that are trained
        self._records: list[dict[str, Any]] = []  # of the epochs since the optimiser began
        self._search: Any = None  # where a whole-batch optimiser stands
        self._partial: Any = None  # how far an interrupted epoch has come
        self._compiled: dict[Any, Any] = {}  # what engines have compiled for it, which no other network may use
        self.epoch = self.steps = 0

    def _initial_carry(self) -> Carry:
        """The numbers before the first step."""
        return self._carry_of(self._architecture.init(self.seed), self._architecture.init_state())

    def _carry_of(self, params: Any, state: Any) -> Carry:
        """Parameters and running averages from the host, after ``steps`` steps, without an optimiser's state."""
        count, key = (self.device.asarray(value, "int32") for value in (self.steps, random.draw_key(self.seed)))
        return self._place(params), self._place(state), (), count, key

    def _place(self, tree: Any) -> Any:
        """A tree of arrays on the network's device, reals in its dtype, sharing memory with none of them."""

        def place(leaf: Array) -> Array:
            if not is_host(leaf) and Device.of(leaf) == self.device:
                xp = self.device.xp
                copy = xp.asarray(leaf, copy=True)
                return xp.astype(copy, getattr(xp, self.dtype), copy=False) if check.is_real(leaf) else copy
            host = to_numpy(leaf)
            return self.device.asarray(host.astype(self.dtype if check.is_real(leaf) else host.dtype))  # a copy

        with self.device.scope():
            return tree_map(place, tree)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, with every default filled in."""
        return self._architecture.layers

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self._architecture.shapes[0]

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return self._architecture.outputs

    @property
    def is_regression(self) -> bool:
        """Whether the outputs are numbers to predict: the loss says so, or leaves it to a last activation of linear."""
        if self._loss.task is not None:
            return self._loss.task == "numbers"
        return bool(self.layers[-1].activation == LINEAR)

    @property
    def params(self) -> Params:
        """The parameters themselves, not copies: a tuple with one entry a layer, of arrays as the layer packs them."""
        return self._carry[0]

    def _work(self) -> int:
        """About how long an example takes in training, forward and backward twice, in multiplications of matrices."""
        work = 0
        for params, shape in zip(self.params, self._architecture.shapes[1:], strict=True):
            places = math.prod(shape[:-1])
            each = _AT_A_PLACE if places > 1 else 1
            work += each * places * sum(math.prod(leaf.shape) for leaf in tree_leaves(params))
        return 3 * work

    def _unpacked(self) -> list[tuple[Array, ...]]:
        return self._unpack(self.params)

    def _unpack(self, tree: Params) -> list[tuple[Array, ...]]:
        """Parameters or gradients as users see them, one entry a layer that has any, in fresh contiguous arrays."""
        xp = self.device.xp
        unpacked = [layer.unpack(p) for layer, p in zip(self.layers, tree, strict=True) if p]
        with self.device.scope():
            return [tuple(xp.asarray(array, copy=True) for array in arrays) for arrays in unpacked]

    @property
    def weights(self) -> list[Array]:
        """The weights of each layer that has any, (units, inputs) for `Dense`: fresh arrays on the device."""
        return [arrays[0] for arrays in self._unpacked()]

    @property
    def biases(self) -> list[Array]:
        """The biases of each layer that has any, (units,) for `Dense`: fresh arrays on the device."""
        return [arrays[1] for arrays in self._unpacked() if len(arrays) > 1]

    def set_weights(self, weights: Any, biases: Any) -> None:
        """Put other numbers in place of the weights and biases; they are copied.

        Parameters
        ----------
        weights, biases : lists of arrays, NumPy or on the network's device, in the shapes of `weights` and `biases`

        Raises
        ------
        ValueError
            If a shape or the number of arrays differs, or a number is not finite; nothing has changed then.
        """
        for name, given in (("weights", weights), ("biases", biases)):
            if not isinstance(given, list | tuple):
                raise InvalidTypeError(f"{name}: expected a list of arrays, one a layer, got {type(given).__name__}")
        weights, biases = list(weights), list(biases)
        current = self._unpacked()
        wanted = {"weights": [arrays[0] for arrays in current], "biases": [a[1] for a in current if len(a) > 1]}
        for name, given in (("weights", weights), ("biases", biases)):
            if len(given) != len(wanted[name]):
                raise InvalidValueError(f"{name}: expected {len(wanted[name])} arrays, one a layer, got {len(given)}")
            for i, (new, old) in enumerate(zip(given, wanted[name], strict=True)):
                given[i] = self._own_array(f"{name}[{i}]", new)
                if tuple(given[i].shape) != tuple(old.shape):
                    raise InvalidValueError(
                        f"{name}[{i}]: expected shape {tuple(old.shape)}, got {tuple(given[i].shape)}"
                    )
        new_weights, new_biases = iter(weights), iter(biases)
        packed = []
        for layer, p in zip(self.layers, self.params, strict=True):
            arrays = layer.unpack(p)
            heads = [next(new_weights)] if arrays else []
            heads += [next(new_biases)] if len(arrays) > 1 else []
            packed.append(layer.pack(*self._place(tuple(heads)), *arrays[2:]) if arrays else p)
        self._carry = (tuple(packed), *self._carry[1:])

    def _own_array(self, name: str, obj: Any) -> Array:
        """`obj`, from the host or on the network's device, as a finite array there; reals in the network's dtype."""
        array = check.as_array(name, obj)
        if not is_host(array) and (here := Device.of(array)) != self.device:
            raise InvalidValueError(
                f"{name}: expected a NumPy array, a list, or an array on {self.device}, got one on {here}; "
                f"move it with nn_any.to_device(..., {str(self.device)!r}), or the network with net.to({str(here)!r})"
            )
        array = self.device.asarray(array, self.dtype if check.is_real(array) else None)
        check.check_finite(name, array)
        return array

    def freeze(self, *places: int) -> Self:
        """Let training leave these layers alone, counted from 0 as in `layers`, or all of them; returns the network.

        A frozen `BatchNorm` uses its running averages and keeps them. The optimiser's state begins anew, its schedule
        goes on; a callback may freeze layers in mid-training.

        Raises
        ------
        IndexError
            If there is no such layer.
        ValueError
            If a layer of your own has no field `trainable`.
        """
        return self._set_trainable(False, places)

    def unfreeze(self, *places: int) -> Self:
        """Let training change these layers again, or all of them, as `freeze` has it; returns the network."""
        return self._set_trainable(True, places)

    def _set_trainable(self, trainable: bool, places: tuple[int, ...]) -> Self:
        chosen = [i for i, p in enumerate(self.params) if p]
        for place in places:
            if check.check_integer("places", place, minimum=0) >= len(self.layers):
                raise IndexError(f"places: expected layers within 0 … {len(self.layers) - 1}, got {place}")
        if places:
            chosen = [place for place in places if self.params[place]]
        self._architecture = self._architecture.with_trainable(trainable, chosen)
        self._search, self._stale = None, True
        return self

    def copy_from(self, other: "Model") -> None:
        """Take over the parameters and running averages of a network of the same layers; they are copied.

        Raises
        ------
        ValueError
            If the layers have other shapes; nothing has changed then.
        """
        mine, its = (tree_map(lambda leaf: tuple(leaf.shape), net._carry[:2]) for net in (self, other))
        if mine != its:
            raise InvalidValueError(f"other: expected a network of the same layers as {self!r}, got {other!r}")
        self._carry, self._partial = (*self._place(other._carry[:2]), *self._carry[2:]), None

    def to(self, device: str | Device) -> Self:
        """Move to another device, in place; returns the network itself.

        Raises
        ------
        DeviceNotAvailableError
            If the device is not there.
        TypeError
            If the network is float64 and the device has none.
        """
        device = select_device(device)
        device.check_dtype(self.dtype)
        *state, step, key = self._carry
        self.device, self._compiled = device, {}
        self._carry = (*self._place(tuple(state)), device.asarray(step, "int32"), device.asarray(key, "int32"))
        return self

    def copy(self) -> Self:
        """A network of its own with the same numbers, on the same device, at the same point of its training."""
        return self.astype(self.dtype)

    def astype(self, dtype: str) -> Self:
        """A copy whose parameters and arithmetic have another dtype, ``"float32"`` or ``"float64"``."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._records, other._compiled = list(self._records), {}
        other.dtype = check.check_dtype(dtype)
        other.device.check_dtype(other.dtype)
        *state, step, key = self._carry
        other._carry = (*other._place(tuple(state)), step, key)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """All but what has been compiled, for copies and pickles."""
        return vars(self) | {"_compiled": {}}

    def summary(self) -> str:
        """A table of the layers: what each one is, its output shape and its number of parameters.

        Examples
        --------
        >>> print(Model([784, 30, 10], device="numpy").summary())
        layer    activation  output  parameters
        input                784
        1 Dense  sigmoid     30          23,550
        2 Dense  sigmoid     10             310
        total                            23,860
        """
        return summary_table(self.layers, self._architecture.shapes, self.params)

    def __repr__(self) -> str:
        sizes = [shape_text(shape) for shape in self._architecture.shapes]
        return (
            f"{type(self).__name__}({'-'.join(sizes)}, loss {self._loss.name}, {parameter_count(self.params):,} "
            f"parameters, {self.dtype} on {self.device}, {self.epoch} epochs trained)"
        )
