"""JAX: an epoch of steps as one compiled loop. Eager JAX is some fifty times slower.

Convolutions and pooling have no replacements here, since none was faster on the CPU: XLA runs `conv_general_dilated`
and its gradients inside a loop some ten times slower than the definitions, which are matrix products.
"""

import logging
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nn_any.backends._standard import StandardBackend
from nn_any.backends.engine import EagerEngine, Engine, Step, fall_back, one_line, take_rows
from nn_any.core.errors import InvalidValueError
from nn_any.core.typing import Array, Batch, Carry

_logger = logging.getLogger("nn_any")


def _sigmoid(z: Array, *, xp: Any) -> Array:
    return jax.nn.sigmoid(z)


@lru_cache(maxsize=256)
def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled = jax.jit(function)

    def call(*args: Any) -> Any:
        try:
            return compiled(*args)
        except jax.errors.JAXTypeError as error:  # it reads a value: no tracer has one
            _logger.warning(
                "jax.jit cannot compile %s, it runs eagerly: %s",
                getattr(function, "__qualname__", function),
                one_line(error),
            )
            return function(*args)

    return call


def _steps(
    step: Step, carry: Carry, data: Batch, order: Array, rates: Array, start: Array, stop: Array
) -> tuple[Carry, Array]:
    """The steps number `start` … `stop` - 1; the losses of the others are zero.

    A `jax.lax.scan` compiles to the same loop and is no faster, but it needs its length when it is compiled; this one
    takes any segment of the epoch.
    """

    def body(i: Array, now: tuple[Carry, Array]) -> tuple[Carry, Array]:
        carry, losses = now
        carry, loss = step(carry, take_rows(data, order[i], jnp), rates[i])
        return carry, losses.at[i].set(loss)

    shapes = jax.eval_shape(step, carry, take_rows(data, order[0], jnp), rates[0])[1]
    losses = jnp.zeros((order.shape[0], *shapes.shape), shapes.dtype)
    epoch: tuple[Carry, Array] = jax.lax.fori_loop(start, stop, body, (carry, losses))
    return epoch


def _description(leaf: Any) -> jax.ShapeDtypeStruct:
    """What a compiled program is made for: a shape, a dtype, and a device if the array is bound to one."""
    where = leaf.sharding if getattr(leaf, "committed", False) else None
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where, weak_type=getattr(leaf, "weak_type", False))


@lru_cache(maxsize=256)
def _compile(step: Step, tree: Any, shapes: tuple[jax.ShapeDtypeStruct, ...], settings: Any) -> Callable[..., Any]:
    """The loop over `step`, compiled for arguments of these shapes, dtypes and devices; the carry is donated to it."""
    arguments = jax.tree.unflatten(tree, shapes)
    compiled: Callable[..., Any] = jax.jit(partial(_steps, step), donate_argnums=0).lower(*arguments).compile()
    return compiled


class JaxEngine:
    """A whole segment of steps as one compiled loop on the device; compiled once per shape of the epoch.

    Parameters
    ----------
    mode : {"auto", "compiled"}
        What happens to steps that JAX cannot trace: they run eagerly, or an `EngineError`.
    """

    compile_seconds = 0.0
    alone = True
    kept: dict[Any, Any]

    def __init__(self, mode: str = "auto") -> None:
        self.name, self._mode = "jax.lax.fori_loop", mode

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`jax.jit` of the function."""
        return _jit(function)

    def run(
        self, step: Step, carry: Carry, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[Carry, Array]:
        """Run the steps on a copy of the carry, whose buffers the loop may use again."""
        if self.name == EagerEngine.name:
            return EagerEngine().run(step, carry, data, order, rates, start, stop)
        own = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), carry)
        arguments = own, data, order, rates, np.int32(start), np.int32(stop)
        try:
            compiled = self._compiled(step, arguments)
        except Exception as error:  # whatever it is, the plain loop will tell better
            fall_back(self, self._mode, one_line(error))
            self.name = EagerEngine.name
            return self.run(step, carry, data, order, rates, start, stop)
        carry, losses = compiled(*arguments)
        return carry, losses if len(losses) == stop - start else losses[start:stop]

    def _compiled(self, step: Step, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple(_description(leaf) for leaf in leaves)
        known, began = _compile.cache_info().misses, time.perf_counter()
        compiled = _compile(step, tree, shapes, (jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision))
        if _compile.cache_info().misses > known:
            self.compile_seconds += time.perf_counter() - began
        return compiled


class JaxBackend(StandardBackend):
    """JAX arrays; their devices are named cpu, cuda:0, tpu:0 and so on."""

    float64_remedy = (
        "JAX has float64 only after jax.config.update('jax_enable_x64', True), or with JAX_ENABLE_X64=1 in the "
        "environment; set it before the first array is made, or use dtype='float32'"
    )

    def __init__(self) -> None:
        super().__init__("jax", jnp)
        self.replacements = {"sigmoid": _sigmoid}

    @property
    def version(self) -> str:
        """JAX's version."""
        return str(jax.__version__)

    def raw_devices(self) -> Iterable[Any]:
        """The default platform's, and the CPU's, which `jax.devices()` leaves out beside an accelerator."""
        try:
            return (*jax.devices(), *jax.devices("cpu"))
        except RuntimeError:  # JAX_PLATFORMS may leave the CPU out
            return tuple(jax.devices())

    def names(self) -> list[str]:
        """Accelerators first."""
        return sorted(self._devices, key=lambda name: name.startswith("cpu"))

    def canonical(self, name: str) -> str:
        """``"cuda"`` is the first GPU, ``"1"`` the second; the first CPU device is plain ``"cpu"``."""
        if name.isdecimal():
            return f"cuda:{name}"
        if name == "":
            return self.names()[0]
        return {"cuda": "cuda:0", "tpu": "tpu:0", "cpu:0": "cpu"}.get(name, name)

    def raw(self, name: str) -> Any:
        """A `jax.Device`; for a platform that is not there, JAX itself says why."""
        if name not in self._devices:
            jax.devices(name.partition(":")[0])
        return super().raw(name)

    def name_of(self, raw: Any) -> str:
        """The platform and the number of a `jax.Device`."""
        if not hasattr(raw, "platform"):
            raise InvalidValueError(
                f"device: expected an array on one device, got a JAX array sharded as {raw}; "
                "bring it together first with jax.device_put(array, jax.devices()[0])"
            )
        platform = {"gpu": "cuda"}.get(raw.platform, raw.platform)
        return self.canonical(f"{platform}:{raw.id}")

    def engine(self, name: str, mode: str = "auto") -> Engine:
        """The compiled loop; the plain one, which dispatches every operation by itself, for ``"eager"``."""
        return EagerEngine() if mode == "eager" else JaxEngine(mode)

    def supports(self, dtype: str, name: str) -> bool:
        """float64 needs JAX's x64 switch."""
        return dtype != "float64" or bool(jax.config.jax_enable_x64)

    def from_host(self, array: np.ndarray, name: str) -> Array:
        """An array committed to the device."""
        return jax.device_put(array, self.raw(name))

    def to_host(self, array: Array) -> np.ndarray:
        """The array's values."""
        return np.asarray(array)

    def move(self, array: Array, name: str) -> Array:
        """The array committed to another device."""
        return jax.device_put(array, self.raw(name))

    def is_out_of_memory(self, error: BaseException) -> bool:
        """XLA's error has no class of its own."""
        return super().is_out_of_memory(error) or "RESOURCE_EXHAUSTED" in str(error)

    def free_memory(self, name: str) -> int | None:
        """What is left of what XLA has set aside on an accelerator."""
        stats = self.raw(name).memory_stats()
        if not stats:
            return super().free_memory(name)
        return int(stats["bytes_limit"]) - int(stats["bytes_in_use"])

    def synchronize(self, name: str) -> None:
        """Wait for everything that was dispatched: work on a device runs in order, so a last small piece tells."""
        jax.block_until_ready(jax.device_put(np.zeros(()), self.raw(name)) + 0)


def create() -> JaxBackend:
    """The backend for JAX."""
    return JaxBackend()
