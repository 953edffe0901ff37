"""The sides of a comparison: what each has to offer, and which there are."""

import time
from dataclasses import dataclass
from importlib import import_module


class Side:
    """One way of training a job's network.

    Attributes
    ----------
    engine : str
        What ran the steps, if there is a choice.
    times : float
        What a timed stretch has to be multiplied by, where only a part of the work is done.
    """

    engine = ""
    times = 1.0

    def __init__(self, job):
        self.job = job

    def present(self, order):
        """Take the batches of the next stretch, (steps, batch) row numbers; not timed."""
        self.order = order

    def run(self):
        """Train over them, and be done when this returns."""
        raise NotImplementedError(f"{type(self).__name__} must define run()")

    def seconds(self):
        """How long that takes."""
        start = time.perf_counter()
        self.run()
        return (time.perf_counter() - start) * self.times

    def parameters(self):
        """Weights and biases as NumPy arrays in nn_any's shapes; None for a side that learns nothing."""
        return


@dataclass(frozen=True)
class Entry:
    """A side by its name; its library is imported when it is made."""

    name: str
    family: str
    place: str
    options: tuple[tuple[str, object], ...] = ()

    def make(self, job):
        module, _, kind = self.place.partition(":")
        return getattr(import_module(f"benchmarks.{module}"), kind)(job, **dict(self.options))


def _ours(name, device, **options):
    return Entry(f"nn_any on {name}", "nn_any", "ours:Ours", (("device", device), *options.items()))


def _plain_cpu():
    return [
        Entry("floor, NumPy", "floor", "floor:NumpyFloor"),
        Entry("floor, NumPy, uint8 rows", "variant", "floor:NumpyFloor", (("stored", True),)),
        Entry("floor, PyTorch", "floor", "floor:TorchFloor"),
        _ours("NumPy", "numpy"),
        Entry("nn_any on NumPy, eager", "variant", "ours:Ours", (("device", "numpy"), ("mode", "eager"))),
        Entry("nn_any on NumPy, float32 data", "variant", "ours:Ours", (("device", "numpy"), ("real", True))),
        _ours("PyTorch", "torch:cpu"),
        _ours("JAX", "jax:cpu"),
        Entry("loop over examples", "peer", "loop:Loop"),
        Entry("scikit-learn", "peer", "peers_sklearn:Classifier"),
        Entry("PyTorch", "peer", "peers_torch:Eager"),
        Entry("PyTorch, compiled", "peer", "peers_torch:Compiled"),
        Entry("JAX by hand", "peer", "peers_jax:ByHand"),
        Entry("Keras on JAX", "peer", "peers_keras:Keras"),
    ]


def _plain_gpu():
    return [
        Entry("floor", "floor", "floor_gpu:GpuFloor"),
        _ours("CuPy", "cupy"),
        _ours("PyTorch", "torch:cuda:0"),
        _ours("JAX", "jax:cuda:0"),
        Entry("PyTorch", "peer", "peers_torch:Eager"),
        Entry("PyTorch, compiled", "peer", "peers_torch:Compiled"),
        Entry("PyTorch, CUDA graph", "peer", "peers_torch:CudaGraph"),
        Entry("JAX by hand", "peer", "peers_jax:ByHand"),
        Entry("Keras on JAX", "peer", "peers_keras:Keras"),
    ]


def _many(device):
    places = {"NumPy": "numpy", "JAX": "jax:cpu", "PyTorch": "torch:cpu"}
    if device == "cuda":
        places = {"CuPy": "cupy", "JAX": "jax:cuda:0", "PyTorch": "torch:cuda:0"}
    floor = ("floor_gpu:GpuFloor", ()) if device == "cuda" else ("floor:NumpyFloor", (("members", True),))
    found = [Entry("floor" if device == "cuda" else "floor, NumPy", "floor", *floor)]
    for name, spec in places.items():
        found.append(Entry(f"nn_any Ensemble on {name}", "nn_any", "ours:Together", (("device", spec),)))
        found.append(Entry(f"solo runs on {name}", "peer", "ours:Alone", (("device", spec),)))
    return found


def entries(workload, device):
    """The sides of a workload on the CPU or a GPU, in the order of the table."""
    if workload.members > 1:
        return _many(device)
    found = _plain_gpu() if device == "cuda" else _plain_cpu()
    left_out = set() if workload.name == "S" else {"loop over examples"}
    if workload.name.startswith("C"):
        left_out.add("scikit-learn")  # it has no convolutions
    return [entry for entry in found if entry.name not in left_out]
