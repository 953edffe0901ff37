"""What layers measure once on the training data, such as the means and deviations of `Standardize`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nn_any import evaluation
from nn_any.backends import Device, to_numpy
from nn_any.core import functional
from nn_any.core.errors import InvalidValueError
from nn_any.core.specification import Specification
from nn_any.core.state import Snapshot, TrainState
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, LayerParams
from nn_any.datasets.network_input import Examples, own_examples
from nn_any.training.run import Trainable
from nn_any.training.states import check_network, check_state

_ROWS = 4096
"""The most rows of a block: NumPy adds rows up one by one, so long sums of float32 would lose digits."""


def measure(network: Trainable, state: TrainState, data: Any) -> TrainState:
    """The state with what the network's layers measure on the training data, for a training loop of your own.

    `fit` does this by itself. The network does not change; ``net.state = nn.measure(net, net.state, data)`` lets it go
    on from there. What was measured before is measured anew.

    Parameters
    ----------
    network : Network or Ensemble
    state : TrainState
        Such as ``net.state``.
    data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
        As `Network.fit` takes them.

    Returns
    -------
    state : TrainState

    Raises
    ------
    ValueError, TypeError
        If an argument is not as above, or mean or deviation of a feature is beyond the network's dtype.

    Examples
    --------
    >>> import nn_any as nn
    >>> net = nn.Network([2, nn.Standardize(), 1], device="numpy", seed=0)
    >>> net.state = nn.measure(net, net.state, ([[0, 50], [1, 90]], [0, 1]))
    >>> net.state.layer_state[0][0]
    array([ 0.5, 70. ], dtype=float32)
    """
    network = check_network("network", network)
    device, specification = network.device, network.snapshot.specification
    check_state(network.snapshot, device, state)
    examples = own_examples(specification, device, "data", data)
    for i, layer in enumerate(specification.layers):
        if layer.measures is not None:
            state = _with_layer_state(state, i, _measured(specification, device, state, examples, i), device)
    return state


def with_measurements(snapshot: Snapshot, device: Device, examples: Examples) -> Snapshot:
    """The snapshot itself, or one with what its layers measure on these data, where they have not measured yet."""
    for i, layer in enumerate(snapshot.specification.layers):
        if layer.measures is None or to_numpy(layer.is_measured(snapshot.blocks[0].layer_state[i])).any():
            continue
        found = _measured(snapshot.specification, device, snapshot.blocks[0], examples, i)
        blocks = tuple([_with_layer_state(block, i, found, device) for block in snapshot.blocks])
        snapshot = snapshot._replace(blocks=blocks)
    return snapshot


@dataclass(frozen=True)
class _Blocks:
    """Inputs or targets of all examples, and their weights, some rows at a time, as often as one asks."""

    specification: Specification
    device: Device
    state: TrainState
    examples: Examples
    layer: int

    def __iter__(self) -> Iterator[tuple[Array, Array | None]]:
        specification, xp = self.specification, self.device.xp
        layers = specification.layers[: self.layer]
        slices = evaluation.chunks(specification.footprint, self.examples.size, _ROWS)
        for batch in evaluation.pieces(self.device, self.examples.arrays, slices):
            x, (y, weights) = self.examples.prepare(batch, xp=xp)
            if specification.layers[self.layer].measures == "targets":
                yield y, weights
                continue
            context = functional.contexts(self.state, x, layers, training=False)
            own = self.state.params[: self.layer], self.state.layer_state[: self.layer]
            traces, _ = functional.forward(layers, *own, x, context)
            yield (traces[-1].a if traces else x), weights


def _measured(
    specification: Specification, device: Device, state: TrainState, examples: Examples, i: int
) -> LayerParams:
    """What layer i measures on these examples, in the shapes that it has for one network."""
    layer = specification.layers[i]
    with device.scope():
        found = layer.measure(_Blocks(specification, device, state, examples, i), xp=device.xp)
    if not evaluation.is_finite(device, (found,)):
        raise InvalidValueError(
            f"layers: {layer!r} expected {layer.measures} whose mean and deviation {specification.dtype} can hold, got "
            "others; divide large ones, or use dtype='float64'"
        )
    return found


def _with_layer_state(state: TrainState, i: int, found: LayerParams, device: Device) -> TrainState:
    """A state with that of layer i replaced; the members of an ensemble get the same."""
    with device.scope():
        found = tree_map(lambda before, now: device.xp.zeros_like(before) + now, state.layer_state[i], found)
    return state._replace(layer_state=(*state.layer_state[:i], found, *state.layer_state[i + 1 :]))
