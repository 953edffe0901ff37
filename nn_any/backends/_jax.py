"""JAX: every step compiled, an epoch as one scan. Eager JAX is some fifty times slower."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nn_any.backends._standard import StandardBackend
from nn_any.backends.engine import Step, take_rows
from nn_any.core.errors import InvalidValueError
from nn_any.core.typing import Array, Batch, Carry


def _sigmoid(z: Array, *, xp: Any) -> Array:
    return jax.nn.sigmoid(z)


@lru_cache(maxsize=256)
def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = jax.jit(function)
    return compiled


@lru_cache(maxsize=256)
def _scan(step: Step) -> Callable[..., tuple[Carry, Array]]:
    def epoch(carry: Carry, data: Batch, order: Array, rates: Array) -> Any:
        def body(carry: Carry, now: tuple[Array, Array]) -> tuple[Carry, Array]:
            rows, rate = now
            return step(carry, take_rows(data, rows, jnp), rate)

        return jax.lax.scan(body, carry, (order, rates))

    return _jit(epoch)


class JaxEngine:
    """`jax.jit` over `jax.lax.scan` of the step; compiled once per shape."""

    name = "jax.lax.scan"
    compile_seconds = 0.0

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`jax.jit` of the function."""
        return _jit(function)

    def run(
        self, step: Step, carry: Carry, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[Carry, Array]:
        """Run the steps as one compiled scan."""
        return _scan(step)(carry, data, order[start:stop, ...], rates[start:stop])


class JaxBackend(StandardBackend):
    """JAX arrays; their devices are named cpu, cuda:0, tpu:0 and so on."""

    float64_remedy = (
        "JAX has float64 only after jax.config.update('jax_enable_x64', True), or with JAX_ENABLE_X64=1 in the "
        "environment; set it before the first array is made, or use dtype='float32'"
    )

    def __init__(self) -> None:
        super().__init__("jax", jnp)
        self.replacements = {"sigmoid": _sigmoid}
        self._engine = JaxEngine()

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

    def engine(self, name: str, mode: str = "auto") -> JaxEngine:
        """The scanning engine."""
        return self._engine

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

    def synchronize(self, name: str) -> None:
        """Wait for everything that was dispatched: work on a device runs in order, so a last small piece tells."""
        jax.block_until_ready(jax.device_put(np.zeros(()), self.raw(name)) + 0)


def create() -> JaxBackend:
    """The backend for JAX."""
    return JaxBackend()
