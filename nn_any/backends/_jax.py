"""JAX: an epoch of steps as one compiled loop. Eager JAX is some fifty times slower.

Convolutions and pooling have no replacements here, since none was faster on the CPU: XLA runs `conv_general_dilated`
and its gradients inside a loop some ten times slower than the definitions, which are matrix products.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nn_any.backends._standard import StandardBackend
from nn_any.backends.cuda.precision import device_math
from nn_any.backends.engine import Engine, fall_back, logger, one_line, take_rows
from nn_any.backends.programs import ProgramCache
from nn_any.core.errors import InvalidValueError
from nn_any.core.state import Step, TrainState
from nn_any.core.typing import Array, Batch

_PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}
"""What JAX calls the arithmetic of float32 products."""


@lru_cache(maxsize=256)
def _jit(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    compiled = jax.jit(function)

    def call(*args: Any) -> Any:
        try:
            with _plain_jax(device):
                return compiled(*args)
        except jax.errors.JAXTypeError as error:  # it reads a value: no tracer has one
            name = getattr(function, "__qualname__", function)
            logger.warning("jax.jit cannot compile %s, it runs eagerly: %s", name, one_line(error))
            with _plain_jax(device):
                return function(*args)

    return call


def _plain_jax(device: str) -> AbstractContextManager[Any]:
    """A context in which arrays of different ranks broadcast, and float32 products are in float32.

    Ensembles have arrays of different ranks. An accelerator rounds the operands of products unless it is told not to, a
    GPU to TF32 and a TPU to bfloat16. What the user has told JAX stands, and ``NN_ANY_CUDA_MATH`` goes before it.
    """
    contexts: list[AbstractContextManager[Any]] = []
    if jax.config.jax_numpy_rank_promotion != "allow":
        contexts.append(jax.numpy_rank_promotion("allow"))
    if not device.startswith("cpu"):
        own = jax.config.jax_default_matmul_precision
        asked = device.startswith("cuda") and os.environ.get("NN_ANY_CUDA_MATH")
        if asked or own is None:
            contexts.append(jax.default_matmul_precision(_PRECISIONS[device_math(device)]))
    if len(contexts) < 2:
        return contexts[0] if contexts else nullcontext()
    stack = ExitStack()
    for context in contexts:
        stack.enter_context(context)
    return stack


_MEMORY = (
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)
"""With these, users tell JAX how to take memory on a GPU."""
_PIECE = 64
"""How many steps an accelerator takes before the host looks how many remain."""


def _steps(
    step: Step, piece: int, state: TrainState, data: Batch, order: Array, rates: Array, start: Array, pieces: Array
) -> tuple[TrainState, Array]:
    """So many pieces of `piece` steps, from the step number `start` on; the losses of the other steps are zero.

    The number of pieces is traced, so that one program takes any segment of the epoch. Each time such a loop goes on,
    the host of an accelerator waits to be told so. It knows how long a piece is, so it does not wait there.
    """

    def body(i: Array, now: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, losses = now
        state, loss = step(state, take_rows(data, order[i], jnp), rates[i])
        return state, losses.at[i].set(loss)

    def several(i: Array, now: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        first = start + i * piece
        if piece == 1:
            return body(first, now)
        together: tuple[TrainState, Array] = jax.lax.fori_loop(0, piece, lambda j, now: body(first + j, now), now)
        return together

    shapes = jax.eval_shape(step, state, take_rows(data, order[0], jnp), rates[0])[1]
    losses = jnp.zeros((order.shape[0], *shapes.shape), shapes.dtype)
    epoch: tuple[TrainState, Array] = jax.lax.fori_loop(0, pieces, several, (state, losses))
    return epoch


def _description(leaf: Any) -> jax.ShapeDtypeStruct:
    """What a compiled program is made for: a shape, a dtype, and a device if the array is bound to one."""
    where = leaf.sharding if getattr(leaf, "committed", False) else None
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where, weak_type=getattr(leaf, "weak_type", False))


@contextmanager
def _memory_as_needed() -> Iterator[None]:
    """A context in which JAX, if it starts CUDA here, takes memory as it needs it, unless the user has said otherwise.

    By itself it takes three quarters of a GPU's memory at once, and leaves the rest to CuPy, PyTorch and everyone else.
    It looks at the environment when it starts CUDA; other processes are to find the environment as it was.
    """
    if any(name in os.environ for name in _MEMORY):
        yield
        return
    os.environ[_MEMORY[0]] = "false"
    try:
        yield
    finally:
        del os.environ[_MEMORY[0]]


class PlainEngine(Engine):
    """The plain loop, on a device known by its name."""

    def __init__(self, device: str) -> None:
        self._device = device

    def scope(self) -> AbstractContextManager[Any]:
        return _plain_jax(self._device)


class JaxEngine(PlainEngine):
    """A whole segment of steps as one compiled loop on the device; compiled once per shape of the epoch.

    Steps that JAX cannot trace run eagerly; in the mode ``"compiled"`` they are an `EngineError`. `programs` are the
    compiled loops of all networks: they have no buffers. An accelerator has two for a shape: one takes pieces of
    `piece` steps, the other the steps that remain.
    """

    name = "jax.lax.fori_loop"

    def __init__(self, mode: str, programs: ProgramCache, device: str, piece: int = 1) -> None:
        super().__init__(device)
        self._mode, self.programs, self._piece = mode, programs, piece

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return _jit(function, self._device)

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        """Run the steps on a copy of the state, whose buffers the loop may use again."""
        if self.name != Engine.name and jax.config.jax_disable_jit:
            fall_back(self, self._mode, "jax_disable_jit, or JAX_DISABLE_JIT in the environment, is set")
        if self.name == Engine.name:
            return super().run(step, state, data, order, rates, start, stop)
        now = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
        middle = stop - (stop - start) % self._piece
        found = []
        for piece, first, last in ((self._piece, start, middle), (1, middle, stop)):
            if first == last:
                continue
            arguments = now, data, order, rates, np.int32(first), np.int32((last - first) // piece)
            try:
                with self.scope():
                    compiled = self._compiled(step, piece, arguments)
            except Exception as error:  # whatever it is, the plain loop will tell better
                fall_back(self, self._mode, one_line(error))
                return self.run(step, state, data, order, rates, start, stop)
            now, losses = compiled(*arguments)
            found.append(losses if len(losses) == last - first else losses[first:last])
        return now, found[0] if len(found) == 1 else jnp.concatenate(found)

    def _compiled(self, step: Step, piece: int, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """The loop over `step` for arguments of these shapes, dtypes and devices; the state is donated to it."""
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple(_description(leaf) for leaf in leaves)
        settings = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision

        def make() -> Callable[..., Any]:
            began = time.perf_counter()
            loop = jax.jit(partial(_steps, step, piece), donate_argnums=0)
            made: Callable[..., Any] = loop.lower(*jax.tree.unflatten(tree, shapes)).compile()
            self.compile_seconds += time.perf_counter() - began
            return made

        return self.programs.get_or_make((step, piece, tree, shapes, settings), make)


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
        with _memory_as_needed():
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
        return _plain_jax(name)

    def engine(self, name: str, mode: str = "auto", programs: ProgramCache | None = None) -> Engine:
        if mode == "eager":
            return PlainEngine(name)
        return JaxEngine(mode, self._programs, name, 1 if name.startswith("cpu") else _PIECE)

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
        """What is left of the most that XLA takes on an accelerator."""
        stats = self.raw(name).memory_stats()
        if not stats:
            return super().free_memory(name)
        return int(stats["bytes_limit"]) - int(stats["bytes_in_use"])

    def synchronize(self, name: str) -> None:
        """Wait for everything that was dispatched: work on a device runs in order, so a last small piece tells."""
        jax.block_until_ready(jax.device_put(np.zeros(()), self.raw(name)) + 0)
