"""What it must show: each line that speaks of speed or memory, with its limit and what was measured."""

from typing import NamedTuple

from benchmarks.report import by_name, time_of


class Check(NamedTuple):
    """A ratio of times (or of bytes) and the most it may be; `measured` is None if a side is missing."""

    what: str
    most: float
    measured: float | None

    @property
    def verdict(self):
        return "not measured" if self.measured is None else "pass" if self.measured <= self.most else "FAIL"


def checks(report):
    """The checks that the workloads in a report allow."""
    found = []
    for result in report["results"]:
        name, threads = result["workload"]["name"], result["threads"]
        kind = _GPU if threads is None else _CPU
        for what, most, a, b in kind.get(name, lambda threads: ())(threads):
            where = "" if threads is None else f", {threads} thread{'s' if threads > 1 else ''}"
            found.append(Check(f"{name}{where}: {what}", most, _ratio(_pick(result, a), _pick(result, b))))
        if threads is not None and result["workload"]["members"] == 1:
            found += _memory(result)
    return found


def _pick(result, wanted):
    """A time a step: of a side by its name, of the best of families, or a number of microseconds as it is."""
    if isinstance(wanted, float):
        return wanted
    if isinstance(wanted, tuple):
        side = time_of(result, wanted[0], starting=wanted[1] if len(wanted) > 1 else "")
    else:
        side = by_name(result).get(wanted)
    return None if side is None else side["step_microseconds"]


def _ratio(a, b):
    return None if a is None or b is None else a / b


NUMPY, BEST, PEER, FLOOR = "nn_any on NumPy", ("nn_any",), ("peer",), ("floor",)


def _small(threads):
    return (
        ("NumPy, of the floor on the same BLAS", 1.35, NUMPY, "floor, NumPy"),
        ("NumPy, of scikit-learn", 0.20, NUMPY, "scikit-learn"),
        ("NumPy, of PyTorch eager", 0.15, NUMPY, "PyTorch"),
        ("NumPy, of the loop over examples", 0.08, NUMPY, "loop over examples"),
        ("NumPy, of JAX lax.scan by hand", 1.0, NUMPY, "JAX by hand"),
    )


def _wide(threads):
    return (
        ("best nn_any, of the best peer", 1.0, BEST, PEER),
        ("best nn_any, of the best floor (85 % of its speed)", 1 / 0.85, BEST, FLOOR),
        ("NumPy, of PyTorch eager (0.9 of its speed)", 1 / 0.9, NUMPY, "PyTorch"),
    )


def _convolutions(threads):
    return (("best nn_any, of PyTorch eager", 1.0, BEST, "PyTorch"), ("NumPy, of PyTorch eager", 1.6, NUMPY, "PyTorch"))


def _many(threads):
    return (
        ("NumPy, of its solo runs", 1.0 if threads < 2 else 0.6, "nn_any Ensemble on NumPy", "solo runs on NumPy"),
        ("JAX, of its solo runs", 0.7, "nn_any Ensemble on JAX", "solo runs on JAX"),
    )


_CPU = {"S": _small, "M": _wide, "L": _wide, "C10": _convolutions, "C128": _convolutions, "E": _many}
_GPU = {
    "S": lambda threads: (
        ("best nn_any, of 15 µs", 1.0, BEST, 15.0),
        ("best nn_any, of PyTorch under CUDA graphs", 1.0, BEST, "PyTorch, CUDA graph"),
        ("best nn_any, of JAX lax.scan by hand", 1.0, BEST, "JAX by hand"),
    ),
    "L": lambda threads: (("best nn_any, of the floor (80 % of the product rate)", 1 / 0.8, BEST, FLOOR),),
    "E": lambda threads: (("best nn_any, of reading and writing its parameters", 2.0, BEST, FLOOR),),
}


def _memory(result):
    """Beyond the data, at most three times a batch's activations and the parameters, on NumPy."""
    side, allowed = by_name(result).get(NUMPY), result["workload"]["working_bytes"]
    measured = None if side is None or side.get("memory") is None else side["memory"] / allowed
    if side is not None and "memory" not in side:
        return []
    what = f"{result['workload']['name']}: NumPy, memory beyond the data, of a batch's activations and the parameters"
    return [Check(what, 3.0, measured)]


HEAD = ("limit on a ratio of times, or of bytes", "at most", "measured", "")


def rows(found):
    """A row a check, as text."""
    for check in found:
        measured = "" if check.measured is None else f"{check.measured:.2f}"
        yield check.what, f"{check.most:.2f}", measured, check.verdict


def as_text(found):
    """Lines for the terminal."""
    return "\n".join(
        f"{verdict:13}{measured:>8}  at most {most}  {what}" for what, most, measured, verdict in rows(found)
    )
