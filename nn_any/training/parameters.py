"""Parameters as users see them: by name, in fresh contiguous arrays."""

from collections.abc import Mapping
from typing import Any

from nn_any.backends import Device
from nn_any.backends.blocks import join
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.layers.base import name_parameters
from nn_any.core.specification import Specification
from nn_any.core.state import Snapshot
from nn_any.core.typing import Array, Params
from nn_any.datasets.network_input import own_array
from nn_any.training.states import in_blocks

KINDS = {"weights": ("weights", "gain"), "biases": ("biases", "shift")}
"""The names of the parameters that `weights` and `biases` hand out."""


def named(specification: Specification, device: Device, tree: Params) -> dict[str, Array]:
    """Parameters or gradients by name, ``layers.0.weights``: copies on the device."""
    lead = 0 if specification.members is None else 1
    arrays: dict[str, Array] = {}
    with device.scope():
        for i, (layer, p) in enumerate(zip(specification.layers, tree, strict=True)):
            own = layer.unpack(p)
            names = name_parameters(layer, [array.ndim - lead for array in own]) if own else ()
            pairs = zip(names, own, strict=True)
            arrays |= {f"layers.{i}.{name}": device.xp.asarray(array, copy=True) for name, array in pairs}
    return arrays


def of_kind(kind: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Those that ``weights`` or ``biases`` hands out."""
    return {key: array for key, array in arrays.items() if key.split(".", 2)[2] in KINDS[kind]}


def checked_parameters(snapshot: Snapshot, device: Device, parameters: Any) -> dict[str, Array]:
    """Some parameters by name, in the shapes that they have."""
    if not isinstance(parameters, Mapping):
        expected = "a dict of arrays by name, such as net.parameters"
        raise InvalidTypeError(f"parameters: expected {expected}, got {type(parameters).__name__}")
    current = _current(snapshot, device)
    if unknown := [name for name in parameters if name not in current]:
        raise InvalidValueError(f"parameters: expected names among {', '.join(current)}, got {unknown[0]!r}")
    dtype = snapshot.specification.dtype
    return {name: _checked_array(name, new, current[name], device, dtype) for name, new in parameters.items()}


def checked_lists(snapshot: Snapshot, device: Device, **lists: Any) -> dict[str, Array]:
    """All ``weights`` and ``biases``, given as lists, by name."""
    for name, arrays in lists.items():
        if not isinstance(arrays, list | tuple):
            raise InvalidTypeError(f"{name}: expected a list of arrays, one a layer, got {type(arrays).__name__}")
    current, checked = _current(snapshot, device), dict[str, Array]()
    for name, arrays in lists.items():
        places = of_kind(name, current)
        if len(arrays) != len(places):
            raise InvalidValueError(f"{name}: expected {len(places)} arrays, one a layer, got {len(arrays)}")
        for i, ((key, old), new) in enumerate(zip(places.items(), arrays, strict=True)):
            checked[key] = _checked_array(f"{name}[{i}]", new, old, device, snapshot.specification.dtype)
    return checked


def with_parameters(snapshot: Snapshot, device: Device, arrays: Mapping[str, Array]) -> Snapshot:
    """The snapshot with copies of these arrays in the places of the parameters of these names."""
    specification, state = snapshot.specification, join(device, snapshot.blocks)
    dtype = specification.dtype
    placed = {name: device.place(array, dtype) for name, array in arrays.items()}
    every = named(specification, device, state.params) | placed
    packed = []
    for i, (layer, p) in enumerate(zip(specification.layers, state.params, strict=True)):
        own = [array for name, array in every.items() if name.startswith(f"layers.{i}.")]
        packed.append(layer.pack(*own) if own else p)
    return snapshot._replace(blocks=in_blocks(specification, device, state._replace(params=tuple(packed))))


def _current(snapshot: Snapshot, device: Device) -> dict[str, Array]:
    return named(snapshot.specification, device, join(device, snapshot.blocks).params)


def _checked_array(name: str, new: Any, old: Array, device: Device, dtype: str) -> Array:
    """An array on the device, in the shape of the current one."""
    array = own_array(name, new, device, dtype)
    shape, wanted = tuple(array.shape), tuple(old.shape)
    if shape != wanted:
        same = sorted(size for size in shape if size > 1) == sorted(size for size in wanted if size > 1)
        how = "" if not same else "; use .T" if shape[::-1] == wanted else f"; use .reshape{wanted}"
        raise InvalidValueError(f"{name}: expected shape {wanted}, got {shape}{how}")
    return array
