"""States on a device: the first one, one from a file, moved ones, and the members of an ensemble."""

from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np

from nn_any.backends import Device
from nn_any.backends.blocks import block_sizes, join, split
from nn_any.core import functional, options, random
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.optimizers import Optimizer
from nn_any.core.optimizers.members import MemberWeightDecays
from nn_any.core.specification import Specification
from nn_any.core.state import HostSnapshot, Progress, Records, Snapshot, TrainState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.trial import try_shapes
from nn_any.core.typing import Params
from nn_any.files import find_params


def initial_snapshot(specification: Specification, device: Device) -> Snapshot:
    """A network or an ensemble before its first step."""
    device.check_dtype(specification.dtype)
    if (members := specification.members) is None:
        params, layer_state = specification.initial_params(specification.seed), specification.initial_layer_state()
        try_shapes(specification, params, layer_state)
        return placed_snapshot(HostSnapshot(specification, params, layer_state, Progress()), device)
    starts = [
        tree_map(lambda leaf: leaf.astype(specification.dtype), specification.initial_params(seed))
        for seed in members.seeds
    ]
    try_shapes(specification, starts[0], specification.initial_layer_state())
    params = tree_map(lambda *leaves: np.stack(leaves), *starts)
    layer_state = tree_map(lambda leaf: np.stack([leaf] * len(members)), specification.initial_layer_state())
    progress = Progress(members=(Progress(),) * len(members))
    return placed_snapshot(HostSnapshot(specification, params, layer_state, progress), device)


def placed_snapshot(host: HostSnapshot, device: Device) -> Snapshot:
    """A drawn or read network on `device`."""
    specification, params, layer_state, progress, optimizer_state = host
    device.check_dtype(specification.dtype)
    if (members := specification.members) is None:
        steps, key = np.asarray(progress.steps, "int32"), random.draw_key(specification.seed)
    else:
        steps = np.asarray([member.steps for member in progress.members], "int32")
        key = np.stack([random.draw_key(seed) for seed in members.seeds])
    trees = [device.place(tree, specification.dtype) for tree in (params, layer_state, optimizer_state)]
    state = TrainState(trees[0], trees[1], trees[2], device.asarray(steps), device.asarray(key))
    return Snapshot(specification, in_blocks(specification, device, state), progress)


def on_device(name: str, snapshot: Any, device: Device, *, ensemble: bool) -> Snapshot:
    """A snapshot of a network, or of an ensemble, on a device: the same one if it is there, else a copy."""
    kind = "an ensemble" if ensemble else "a network"
    if not isinstance(snapshot, Snapshot) or (snapshot.specification.members is not None) != ensemble:
        got = type(snapshot).__name__ if not isinstance(snapshot, Snapshot) else "that of another kind"
        raise InvalidTypeError(f"{name}: expected the snapshot of {kind}, got {got}; use one that {kind} had")
    if Device.of(snapshot.blocks[0].key) == device:
        return snapshot
    return moved_snapshot(snapshot, device, snapshot.specification.dtype)


def check_network(name: str, network: Any) -> Any:
    """Return what turns out to be a network or an ensemble."""
    if not isinstance(getattr(network, "snapshot", None), Snapshot):
        raise InvalidTypeError(f"{name}: expected a Network or an Ensemble, got {type(network).__name__}")
    return network


def check_state(snapshot: Snapshot, device: Device, state: Any) -> None:
    """Raise an error unless the state has the shapes and dtypes of the snapshot's parameters, and lives on `device`."""
    if not isinstance(state, TrainState):
        raise InvalidTypeError(f"state: expected a nn_any.TrainState, such as net.state, got {type(state).__name__}")
    if (here := Device.of(state.key)) != device:
        raise InvalidValueError(f"state: expected arrays on {device}, got them on {here}; use net.to({str(here)!r})")
    own = join(device, snapshot.blocks)
    mine, its = ([(tuple(a.shape), options.dtype_name(a.dtype)) for a in tree_leaves(one[:2])] for one in (own, state))
    if mine != its:
        wanted, got = next((a, b) for a, b in zip_longest(mine, its) if a != b)
        raise InvalidValueError(
            f"state: expected the shapes and dtypes of the network's own, got {got} where {wanted} belongs; "
            "use a state of this network"
        )


def moved_snapshot(snapshot: Snapshot, device: Device, dtype: str) -> Snapshot:
    """A copy of a snapshot on another device, or in another dtype."""
    device.check_dtype(dtype)
    specification = replace(snapshot.specification, dtype=dtype)
    state = join(Device.of(snapshot.blocks[0].key), snapshot.blocks)
    placed: TrainState = device.place(state, dtype)
    return Snapshot(specification, in_blocks(specification, device, placed), snapshot.progress)


def in_blocks(specification: Specification, device: Device, state: TrainState) -> tuple[TrainState, ...]:
    """The state in blocks that stay in the cache of `device`; a network's is one block."""
    if (members := specification.members) is None:
        return (state,)
    numbers = sum(int(np.prod(leaf.shape)) for leaf in tree_leaves(state.params)) // len(members)
    member_bytes = numbers * np.dtype(specification.dtype).itemsize
    sizes = block_sizes(device, len(members), member_bytes, members.threads)
    return split(device, state, sizes) if len(sizes) > 1 else (state,)


def member_snapshot(snapshot: Snapshot, device: Device, i: int) -> Snapshot:
    """Member i of an ensemble as a network of its own: copies."""
    specification, progress = snapshot.specification.member(i), snapshot.progress.members[i]
    state = member_state(snapshot, device, i)
    members = snapshot.specification.members
    if members is not None and members.weight_decays is not None and state.optimizer_state is not None:
        state = state._replace(optimizer_state=state.optimizer_state[1])
    return Snapshot(specification, (device.place(state, specification.dtype),), progress)


def member_state(snapshot: Snapshot, device: Device, i: int) -> TrainState:
    """The state of member i of an ensemble."""
    block = 0
    while i >= (size := snapshot.blocks[block].key.shape[0]):
        block, i = block + 1, i - size
    with device.scope():
        state: TrainState = tree_map(lambda leaf: leaf[i, ...], snapshot.blocks[block])
    return state


def block_slices(snapshot: Snapshot) -> list[slice]:
    """Which members of an ensemble each block has."""
    sizes = [int(block.key.shape[0]) for block in snapshot.blocks]
    ends = np.cumsum(sizes)
    return [slice(int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True)]


def with_optimizer(snapshot: Snapshot, optimizer: Optimizer) -> Snapshot:
    """The snapshot with another optimizer, which starts anew; the same snapshot if it has this one already.

    Raises
    ------
    TypeError
        If members of an ensemble cannot have learning rates or weight decays of their own with this optimizer.
    """
    if optimizer == snapshot.progress.optimizer:
        return snapshot
    blocks = tuple([block._replace(optimizer_state=None) for block in snapshot.blocks])
    members = tuple(
        [
            replace(member, optimizer=own, records=Records())
            for member, own in zip(
                snapshot.progress.members, member_optimizers(snapshot.specification, optimizer), strict=True
            )
        ]
    )
    progress = replace(
        snapshot.progress, optimizer=optimizer, records=Records(), unfinished=None, line_search=None, members=members
    )
    return snapshot._replace(blocks=blocks, progress=progress)


def member_optimizers(specification: Specification, optimizer: Optimizer) -> tuple[Optimizer, ...]:
    """The optimizer of each member of an ensemble; ``()`` for a network."""
    if (members := specification.members) is None:
        return ()
    nothing = (None,) * len(members)
    own = zip(members.learning_rates or nothing, members.weight_decays or nothing, strict=True)
    return tuple([optimizer.member(*each) for each in own])


def update_rule(specification: Specification, optimizer: Optimizer) -> Optimizer:
    """What the training step depends on: the optimizer without its learning rate, or weight decays of members."""
    members = specification.members
    if members is not None and members.weight_decays is not None:
        return MemberWeightDecays(optimizer.update_rule())
    return optimizer.update_rule()


def with_optimizer_state(snapshot: Snapshot, device: Device) -> Snapshot:
    """The snapshot with the optimizer's first state, where it has not started, or other layers are frozen now."""
    if all(block.optimizer_state is not None for block in snapshot.blocks):
        return snapshot
    specification, optimizer = snapshot.specification, snapshot.progress.optimizer
    assert optimizer is not None
    init = device.engine.compile(optimizer.init)
    trainable = [functional.trainable_params(specification.layers, block.params) for block in snapshot.blocks]
    if specification.members is None:
        states = [init(params) for params in trainable]
    else:
        states = [
            _stacked_init(init, device, params, block) for params, block in zip(trainable, snapshot.blocks, strict=True)
        ]
        if specification.members.weight_decays is not None:
            decays = [np.asarray(specification.members.weight_decays[at]) for at in block_slices(snapshot)]
            states = [
                (device.asarray(own, specification.dtype), state) for own, state in zip(decays, states, strict=True)
            ]
    pairs = zip(snapshot.blocks, states, strict=True)
    return snapshot._replace(blocks=tuple([block._replace(optimizer_state=state) for block, state in pairs]))


def _stacked_init(init: Any, device: Device, params: Params, block: TrainState) -> Any:
    """The first states of a block's members, drawn up one by one and then stacked."""
    each = [init(tree_map(lambda leaf, i=i: leaf[i, ...], params)) for i in range(block.key.shape[0])]
    with device.scope():
        return tree_map(lambda *leaves: device.xp.stack(leaves), *each)


def with_tensors(path: Any, snapshot: Snapshot, device: Device, tensors: dict[str, np.ndarray]) -> Snapshot:
    """The snapshot with the parameters and layer states that a file holds."""
    found = find_params(path, snapshot.specification, tensors)
    placed = placed_snapshot(HostSnapshot(snapshot.specification, *found, snapshot.progress), device)
    return snapshot.with_parameters_of(placed.blocks)
