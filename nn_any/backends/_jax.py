"""JAX: an epoch of steps as one compiled loop. Eager JAX is some fifty times slower.

Convolutions and pooling have no replacements here, since none was faster on the CPU: XLA runs `conv_general_dilated`
and its gradients inside a loop some ten times slower than the definitions, which are matrix products.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nn_any.backends._standard import StandardBackend
from nn_any.backends.engine import Engine, fall_back, logger, one_line, take_rows
from nn_any.backends.programs import ProgramCache
from nn_any.core.errors import InvalidValueError
from nn_any.core.state import Step, TrainState
from nn_any.core.typing import Array, Batch


@lru_cache(maxsize=256)
def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled = jax.jit(function)

    def call(*args: Any) -> Any:
        try:
            with _broadcasting():
                return compiled(*args)
        except jax.errors.JAXTypeError as error:  # it reads a value: no tracer has one
            name = getattr(function, "__qualname__", function)
            logger.warning("jax.jit cannot compile %s, it runs eagerly: %s", name, one_line(error))
            with _broadcasting():
                return function(*args)

    return call


def _broadcasting() -> AbstractContextManager[Any]:
    """A context in which arrays of different ranks broadcast, as those of ensembles do, whatever JAX is set to."""
    allowed = jax.config.jax_numpy_rank_promotion == "allow"
    context: AbstractContextManager[Any] = nullcontext() if allowed else jax.numpy_rank_promotion("allow")
    return context


def _steps(
    step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: Array, stop: Array
) -> tuple[TrainState, Array]:
    """The steps number `start` … `stop` - 1; the losses of the others are zero.

    A `jax.lax.scan` compiles to the same loop and is no faster, but it needs its length when it is compiled; this one
    takes any segment of the epoch.
    """

    def body(i: Array, now: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, losses = now
        state, loss = step(state, take_rows(data, order[i], jnp), rates[i])
        return state, losses.at[i].set(loss)

    shapes = jax.eval_shape(step, state, take_rows(data, order[0], jnp), rates[0])[1]
    losses = jnp.zeros((order.shape[0], *shapes.shape), shapes.dtype)
    epoch: tuple[TrainState, Array] = jax.lax.fori_loop(start, stop, body, (state, losses))
    return epoch


def _description(leaf: Any) -> jax.ShapeDtypeStruct:
    """What a compiled program is made for: a shape, a dtype, and a device if the array is bound to one."""
    where = leaf.sharding if getattr(leaf, "committed", False) else None
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where, weak_type=getattr(leaf, "weak_type", False))


class PlainEngine(Engine):
    """The plain loop."""

    def scope(self) -> AbstractContextManager[Any]:
        return _broadcasting()


class JaxEngine(PlainEngine):
    """A whole segment of steps as one compiled loop on the device; compiled once per shape of the epoch.

    Steps that JAX cannot trace run eagerly; in the mode ``"compiled"`` they are an `EngineError`. `programs` are the
    compiled loops of all networks: they have no buffers.
    """

    def __init__(self, mode: str, programs: ProgramCache) -> None:
        self.name, self._mode, self.programs = "jax.lax.fori_loop", mode, programs

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return _jit(function)

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        """Run the steps on a copy of the state, whose buffers the loop may use again."""
        if self.name != Engine.name and jax.config.jax_disable_jit:
            fall_back(self, self._mode, "jax_disable_jit, or JAX_DISABLE_JIT in the environment, is set")
        if self.name == Engine.name:
            return super().run(step, state, data, order, rates, start, stop)
        own = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
        arguments = own, data, order, rates, np.int32(start), np.int32(stop)
        try:
            with self.scope():
                compiled = self._compiled(step, arguments)
        except Exception as error:  # whatever it is, the plain loop will tell better
            fall_back(self, self._mode, one_line(error))
            return self.run(step, state, data, order, rates, start, stop)
        state, losses = compiled(*arguments)
        return state, losses if len(losses) == stop - start else losses[start:stop]

    def _compiled(self, step: Step, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """The loop over `step` for arguments of these shapes, dtypes and devices; the state is donated to it."""
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple(_description(leaf) for leaf in leaves)
        settings = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision

        def make() -> Callable[..., Any]:
            began = time.perf_counter()
            loop = jax.jit(partial(_steps, step), donate_argnums=0)
            made: Callable[..., Any] = loop.lower(*jax.tree.unflatten(tree, shapes)).compile()
            self.compile_seconds += time.perf_counter() - began
            return made

        return self.programs.get_or_make((step, tree, shapes, settings), make)


class Backend(StandardBackend):
    """JAX arrays; their devices are named cpu, cuda:0, tpu:0 and so on."""

    float64_remedy = (
        "JAX has float64 only after jax.config.update('jax_enable_x64', True), or with JAX_ENABLE_X64=1 in the "
        "environment; set it before the first array is made, or use dtype='float32'"
    )
    replacements = MappingProxyType({"sigmoid": lambda z, *, xp: jax.nn.sigmoid(z)})
    aliases = MappingProxyType({"cuda": "cuda:0", "tpu": "tpu:0", "cpu:0": "cpu"})

    def __init__(self) -> None:
        super().__init__("jax", jnp)
        self._programs = ProgramCache(256)

    def raw_devices(self) -> Iterable[Any]:
        """The default platform's, and the CPU's, which `jax.devices()` leaves out beside an accelerator."""
        try:
            return (*jax.devices(), *jax.devices("cpu"))
        except RuntimeError:  # JAX_PLATFORMS may leave the CPU out
            return tuple(jax.devices())

    def names(self) -> list[str]:
        return sorted(self._devices, key=lambda name: name.startswith("cpu"))

    def raw(self, name: str) -> Any:
        if name not in self._devices:
            jax.devices(name.partition(":")[0])  # for a platform that is not there, JAX itself says why
        return super().raw(name)

    def name_of(self, raw: Any) -> str:
        if not hasattr(raw, "platform"):
            raise InvalidValueError(
                f"device: expected an array on one device, got a JAX array sharded as {raw}; "
                "bring it together first with jax.device_put(array, jax.devices()[0])"
            )
        platform = "cuda" if raw.platform == "gpu" else raw.platform
        return self.canonical(f"{platform}:{raw.id}")

    def scope(self, name: str) -> AbstractContextManager[Any]:
        return _broadcasting()

    def engine(self, name: str, mode: str = "auto", programs: ProgramCache | None = None) -> Engine:
        return PlainEngine() if mode == "eager" else JaxEngine(mode, self._programs)

    def integer_dtype(self, name: str) -> str:
        return "int64" if jax.config.jax_enable_x64 else "int32"

    def supports(self, dtype: str, name: str) -> bool:
        return dtype != "float64" or bool(jax.config.jax_enable_x64)

    def from_host(self, array: np.ndarray, name: str) -> Array:
        return jax.device_put(array, self.raw(name))

    move = from_host

    def to_host(self, array: Array) -> np.ndarray:
        host = np.asarray(array)
        return host.astype("float32") if host.dtype.kind == "V" else host  # bfloat16 is no dtype of NumPy's own

    def thread_settings(self) -> Callable[[], AbstractContextManager[Any]]:
        """Return contexts with this thread's x64 switch, which may differ from the process's."""
        return partial(jax.enable_x64, bool(jax.config.jax_enable_x64))

    def is_out_of_memory(self, error: BaseException) -> bool:
        return super().is_out_of_memory(error) or "RESOURCE_EXHAUSTED" in str(error)  # XLA's has no class of its own

    def free_memory(self, name: str) -> int | None:
        """What is left of what XLA has set aside on an accelerator."""
        stats = self.raw(name).memory_stats()
        if not stats:
            return super().free_memory(name)
        return int(stats["bytes_limit"]) - int(stats["bytes_in_use"])

    def synchronize(self, name: str) -> None:
        """Wait for everything that was dispatched: work on a device runs in order, so a last small piece tells."""
        jax.block_until_ready(jax.device_put(np.zeros(()), self.raw(name)) + 0)
