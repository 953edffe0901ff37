"""Arrays of other libraries, as scikit-learn's array API dispatch lets them through: where they lie and go."""

from typing import Any

import numpy as np
from sklearn import get_config

from nn_any.backends import Device, is_host, to_numpy
from nn_any.core.errors import InvalidValueError
from nn_any.core.typing import Array


def is_sparse(x: Any) -> bool:
    """Whether x is a matrix of SciPy that holds few of its numbers."""
    return hasattr(x, "toarray")


def home_of(x: Any) -> Device | None:
    """Where an array of a library other than NumPy lies, if scikit-learn takes it as it is; None for all else."""
    if not get_config()["array_api_dispatch"] or is_sparse(x) or is_host(x):
        return None
    return Device.of(x)


def on_host(a: Any) -> Any:
    """The same numbers where NumPy reads them."""
    return a if home_of(a) is None else to_numpy(a)


def beside(a: Any, x: Any) -> Any:
    """The numbers or labels `a` where the inputs x lie; a single number, and None, as they are."""
    home = home_of(x)
    if home is None:
        return on_host(a)
    if not hasattr(a, "__len__") and not hasattr(a, "dtype"):
        return a
    return a if home_of(a) == home else home.asarray(a if hasattr(a, "dtype") else np.asarray(a))


def real_dtypes(x: Any) -> tuple[Any, ...]:
    """The dtypes of inputs that scikit-learn keeps; it turns others into the first of them."""
    home = home_of(x)
    if home is None:
        return np.float64, np.float32
    return (home.xp.float64, home.xp.float32) if home.supports("float64") else (home.xp.float32,)


def answer(a: Array, home: Device | None) -> Array:
    """An array as the answer to inputs that lie there: NumPy for None."""
    return to_numpy(a) if home is None else home.asarray(a)


def check_home(home: Device | None, fitted: Device | None, called: str) -> None:
    """Raise an error if inputs lie elsewhere than those that the estimator was fitted to."""
    if get_config()["array_api_dispatch"] and home != fitted:
        there, here = ("numpy:cpu" if one is None else str(one) for one in (fitted, home))
        raise InvalidValueError(
            f"X: inputs of {called}() must use the same namespace and device as those of fit(), {there}, got {here}; "
            f"give it nn_any.to_device(X, {there!r})"
        )
