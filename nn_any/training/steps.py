"""Single training steps: for `update_mini_batch`, and for a training loop of one's own."""

from typing import Any

import numpy as np

from nn_any import evaluation
from nn_any import validation as check
from nn_any.backends import MODES, to_numpy
from nn_any.backends.blocks import join
from nn_any.core import functional, options
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidTypeError, InvalidValueError, TrainingDivergedError
from nn_any.core.evaluation import learned
from nn_any.core.optimizers import SGD, Optimizer
from nn_any.core.state import Snapshot, Step, TrainState
from nn_any.core.typing import Array
from nn_any.datasets.network_input import own_batch, own_examples
from nn_any.training.plan import place_rates
from nn_any.training.run import Trainable
from nn_any.training.segments import runner
from nn_any.training.states import (
    check_network,
    check_state,
    in_blocks,
    update_rule,
    with_optimizer,
    with_optimizer_state,
)

_UNIT_SGD = SGD(1.0)  # the rate reaches the step as an array, so one compiled step serves every rate


def descend(network: Trainable, mini_batch: Any, eta: float) -> Snapshot:
    """The network's snapshot after one step of plain gradient descent."""
    x, y = _pair("mini_batch", mini_batch)
    snapshot, device = network.snapshot, network.device
    specification = snapshot.specification
    rate = place_rates(SGD(eta).rates(0, 1), device, specification.dtype)[0, ...]
    batch, prepare = own_batch(specification, device, x, y)
    step = functional.train_step(specification.layers, specification.loss, _UNIT_SGD, prepare)
    before = join(device, snapshot.blocks)
    after, _ = device.engine.compile(step)(before._replace(optimizer_state=None), batch, rate)
    if not evaluation.is_finite(device, learned(specification.layers, after)):
        raise TrainingDivergedError("this step would make weights or running averages infinite or NaN; they are kept")
    after = after._replace(optimizer_state=before.optimizer_state)
    return snapshot.with_counted_steps(
        in_blocks(specification, device, after), [1] * len(specification.members or (0,))
    )


def train_step(
    network: Trainable,
    state: TrainState,
    batch: Any,
    learning_rate: float,
    *,
    optimizer: Optimizer | None = None,
) -> tuple[TrainState, Array]:
    """One training step as a pure function of the state, for a training loop of your own.

    The network itself does not change; ``net.state = state`` lets it go on from there.

    Parameters
    ----------
    network : Network or Ensemble
        Its layers and its loss are used.
    state : TrainState
        Such as ``net.state``, or what an earlier step returned.
    batch : tuple ``(x, y)`` of arrays
        Inputs (n, inputs), and labels (n,) or targets (n, outputs).
    learning_rate : float
    optimizer : Optimizer, optional
        By default the one that the network was trained with last, else plain `SGD`. Its own learning rate is not used.
        With ``optimizer_state=None`` a state starts another optimizer.

    Returns
    -------
    state : TrainState
    loss : array, (), on the network's device
        Averaged over the batch, taken before the step; (m,) for an ensemble of m networks.

    Raises
    ------
    ValueError, TypeError
        If the batch or the learning rate is not as above.

    Examples
    --------
    >>> import nn_any as nn
    >>> net = nn.Network([2, 3, 1], device="numpy", seed=0)
    >>> state, loss = nn.train_step(net, net.state, ([[0.0, 1.0]], [1]), learning_rate=0.5)
    >>> net.state = state
    >>> net.steps
    1
    """
    network = check_network("network", network)
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        got = type(batch).__name__
        raise InvalidTypeError(f"batch: expected a tuple (x, y) of arrays, got {got}; use nn_any.train_steps for data")
    device, specification = network.device, network.snapshot.specification
    rate = place_rates(SGD(learning_rate).rates(0, 1), device, specification.dtype)[0, ...]
    x, y = _pair("batch", tuple(batch) if isinstance(batch, list) else batch)
    arrays, prepare = own_batch(specification, device, x, y)
    step, state = _step(network, state, optimizer, prepare)
    after: tuple[TrainState, Array] = device.engine.compile(step)(state, arrays, rate)
    return after


def train_steps(
    network: Trainable,
    state: TrainState,
    data: Any,
    order: Any,
    learning_rate: Any,
    *,
    optimizer: Optimizer | None = None,
    engine: str = "auto",
) -> tuple[TrainState, np.ndarray]:
    """Many training steps, run as `Network.fit` runs them: compiled, replayed or one by one.

    Nothing looks for losses that are not finite.

    Parameters
    ----------
    network, state, optimizer
        As for `train_step`.
    data : Dataset, tuple ``(x, y)`` of arrays, or iterable of pairs of columns
        As `Network.fit` takes them.
    order : array of integers, (steps, batch_size)
        The examples of each step, by their numbers; (steps, m, batch_size) for an ensemble of m networks.
    learning_rate : float, or sequence (steps,)
    engine : {"auto", "eager", "compiled"}
        As `Network.fit` takes it.

    Returns
    -------
    state : TrainState
    losses : NumPy array, (steps,), or (steps, m)

    Raises
    ------
    ValueError, TypeError
        If an argument is not as above.

    Examples
    --------
    >>> import numpy as np, nn_any as nn
    >>> net = nn.Network([2, 3, 1], device="numpy", seed=0)
    >>> data = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> order = np.stack([np.random.default_rng(i).permutation(4) for i in range(100)])
    >>> state, losses = nn.train_steps(net, net.state, data, order, learning_rate=3.0)
    >>> losses.shape, bool(losses[-1] < losses[0])
    ((100,), True)
    """
    options.choice("engine", engine, *MODES)
    network = check_network("network", network)
    device, snapshot = network.device, network.snapshot
    specification = snapshot.specification
    examples = own_examples(specification, device, "data", data, training=True)
    members = () if specification.members is None else (len(specification.members),)
    rows = to_numpy(check.as_array("order", order))
    if rows.dtype.kind not in "iu" or rows.ndim != 2 + len(members) or rows.shape[1:-1] != members or not rows.size:
        shape = "(steps, batch_size)" if not members else f"(steps, {members[0]}, batch_size)"
        raise InvalidValueError(f"order: expected integers {shape}, got {rows.dtype} of shape {rows.shape}")
    if rows.min() < 0 or rows.max() >= examples.size:
        raise InvalidValueError(
            f"order: expected examples within 0 … {examples.size - 1}, got {rows.min()} … {rows.max()}"
        )
    rates = to_numpy(check.as_array("learning_rate", learning_rate)).astype(np.float64)
    if rates.shape not in ((), rows.shape[:1]) or not (rates > 0).all():
        raise InvalidValueError(
            f"learning_rate: expected a positive number, or {len(rows)} of them, got {rates!r:.200}"
        )
    rates = np.broadcast_to(rates, rows.shape[:1])
    rates = np.broadcast_to(rates.reshape(-1, *(1,) * len(members)), rows.shape[:-1])
    step, state = _step(network, state, optimizer, examples.prepare)
    placed = place_rates(rates, device, specification.dtype)
    run = runner(device, network.training_engines(engine)[0], step, examples.arrays, rows, placed)
    state, losses = run(state, 0, len(rows))
    return state, to_numpy(losses)


def _pair(name: str, batch: Any) -> tuple[Any, Any]:
    """The batch itself; an error if it is not a pair."""
    if not isinstance(batch, tuple) or len(batch) != 2:
        got = f"a tuple of {len(batch)}" if isinstance(batch, tuple) else type(batch).__name__
        raise InvalidTypeError(
            f"{name}: expected a tuple (x, y) of arrays, got {got}; for lists of pairs use nn_any.book.network"
        )
    return batch


def _step(
    network: Trainable, state: TrainState, optimizer: Optimizer | None, prepare: Preparation
) -> tuple[Step, TrainState]:
    """The step of an optimizer, and the state with the optimizer's own first state if it has none yet."""
    snapshot, device = network.snapshot, network.device
    check_state(snapshot, device, state)
    specification = snapshot.specification
    chosen = optimizer or snapshot.progress.optimizer or _UNIT_SGD
    if not isinstance(chosen, Optimizer) or chosen.whole_batch:
        raise InvalidTypeError(f"optimizer: expected one that takes steps, such as nn_any.SGD(0.5), got {chosen!r}")
    if state.optimizer_state is None:
        fresh = with_optimizer(snapshot._replace(blocks=(state,)), chosen)
        state = with_optimizer_state(fresh, device).blocks[0]
    update = update_rule(specification, chosen)
    return functional.train_step(specification.layers, specification.loss, update, prepare), state
