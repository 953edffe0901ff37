"""What differs between the versions of scikit-learn from 1.5 on."""

from typing import Any

from sklearn.utils import validation


def validate_data(estimator: Any, *args: Any, **kwargs: Any) -> Any:
    """Check data, and the number and the names of their features, as scikit-learn does."""
    if hasattr(validation, "validate_data"):  # 1.6 and later
        return validation.validate_data(estimator, *args, **kwargs)
    return getattr(estimator, "_validate_data")(*args, **kwargs)  # noqa: B009  # pragma: no cover
