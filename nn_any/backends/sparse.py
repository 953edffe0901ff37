"""The sparse arrays of array libraries, which are none of the Python Array API: what to do with each."""

from typing import Any

_OF = "scipy.sparse.{}_array(({}), shape=x.shape)"
_REMEDIES = {
    "cupyx": "use .get(), which makes it SciPy's, or .toarray()",
    "sparse": "use .to_scipy_sparse(), or .todense()",
    "jax.BCOO": f"use {_OF.format('coo', 'x.data, x.indices.T')}, or .todense()",
    "jax.BCSR": f"use {_OF.format('csr', 'x.data, x.indices, x.indptr')}, or .todense()",
    "jax": "use .todense()",
}


def sparse_objection(obj: Any) -> tuple[str, str] | None:
    """What `obj` is and the remedy, if it is a sparse array of CuPy, JAX or PyData; NumPy would read it wrongly."""
    kind = type(obj)
    library = kind.__module__.partition(".")[0]
    if library not in _REMEDIES or not hasattr(obj, "todense"):
        return None
    return f"a sparse array of {kind.__module__}", _REMEDIES.get(f"{library}.{kind.__name__}") or _REMEDIES[library]
