"""Dataset: examples that live on a device."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from nn_any import validation as check
from nn_any.backends import Device, is_host, select_device, to_numpy
from nn_any.core import options
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.random import epoch_order
from nn_any.core.typing import Array
from nn_any.datasets.counting import cheapest, check_count, is_one_hot, label_range


class Dataset:
    """Inputs and targets on one device, checked once when made.

    Parameters
    ----------
    x : array or nested sequence, (n, ...), real, integer or boolean
        One example a row; it may share memory with what is given, so leave that unchanged. Integers stay as they are
        stored (images may stay uint8) and become reals batch by batch.
    y : array or nested sequence
        Integer labels (n,), or targets (n, outputs): one-hot rows or real numbers. Real numbers (n,) become a column.
    classes : int, list or tuple, optional
        The number of classes, or their names; by default one more than the largest label, or the number of columns of
        one-hot targets.
    device : str or Device, optional
        Where the data shall live; by default where `x` lives, and for NumPy arrays and sequences
        ``select_device(None)``.
    scale : float, optional
        What stored integers are divided by when they become reals: 255 for 8-bit images.
    dtype : str, optional
        ``"float32"`` or ``"float64"``: convert real numbers on the way. By default arrays keep their dtype, and lists
        become float32.
    sample_weight : array or sequence, (n,), optional
        How much each example counts in the loss: 0 or more. Only the proportions matter.
    check_finite : bool
        Look for NaN and infinity in real numbers, once, without a second copy. False trusts the data.

    Attributes
    ----------
    x : array, (n, ...), on `device`
    y : array, on `device`: labels (n,) in the library's default integer dtype, or targets (n, outputs), real floating
    classes : int or None
        None for real targets.
    class_names : tuple or None
        What the classes are called, if that was said.
    sample_weight : array, (n,), real floating, on `device`, or None
    one_class : bool
        Whether all labels are the same, though nobody said how many classes there are: nothing to learn from.

    Raises
    ------
    ValueError, TypeError
        For empty data, lengths that differ, NaN or infinity, labels out of range, text, complex numbers, ragged rows,
        and arrays of two libraries or devices.

    Examples
    --------
    >>> data = Dataset([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [1, 1, 0], device="numpy")
    >>> data
    Dataset(3 examples of shape (2,), float32, 2 classes, on numpy:cpu)
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        classes: int | list[Any] | tuple[Any, ...] | None = None,
        device: str | Device | None = None,
        scale: float | None = None,
        dtype: str | None = None,
        sample_weight: Any = None,
        check_finite: bool = True,
    ) -> None:
        self.scale = check.check_scale(scale)
        self.class_names: tuple[Any, ...] | None = None
        if isinstance(classes, list | tuple):
            self.class_names, classes = tuple(classes), len(classes)
        dtype = None if dtype is None else check.check_dtype(dtype)
        listed_x, listed_y = (isinstance(part, list | tuple) for part in (x, y))
        x, y = check.as_array("x", x), check.as_array("y", y)
        if not listed_y:
            check.check_same_place("x", x, "y", y)
        if x.ndim < 2:
            raise InvalidValueError(
                f"x: expected (n, features) or more axes, got shape {tuple(x.shape)}; one example a row"
            )
        if x.shape[0] == 0 or 0 in x.shape:
            raise InvalidValueError(f"x: expected at least one example and one feature, got shape {tuple(x.shape)}")
        if y.ndim not in (1, 2):
            raise InvalidValueError(f"y: expected labels (n,) or targets (n, outputs), got shape {tuple(y.shape)}")
        check.check_same_length("x", x.shape[0], "y", y.shape[0])
        if device is None:
            self.device = select_device(None) if is_host(x) else Device.of(x)
        else:
            self.device = select_device(device)
        if scale is not None and check.is_real(x):
            raise InvalidValueError(
                f"scale: expected None for real x, got {scale!r}; it says how stored integers become reals"
            )

        def place(array: Array, listed: bool) -> Array:
            if not check.is_real(array):
                check.check_integers_fit("x", array, self.device)
                return self.device.asarray(array)
            return self.device.asarray(array, dtype or ("float32" if listed else None))

        self.x: Array = place(x, listed_x)
        wide = y  # labels that the device's integers might not hold
        if y.ndim == 1 and not check.is_real(y):
            self.y: Array = self.device.asarray(y, self.device.integer_dtype)
        else:
            self.y = place(y, listed_y) if check.is_real(y) else self.device.asarray(y, dtype or "float32")
            self.y = self.y[:, None] if y.ndim == 1 else self.y
        if options.flag("check_finite", check_finite):
            check.check_finite("x", cheapest(x, self.x))
            check.check_finite("y", cheapest(y, self.y))
        with self.device.scope():
            self.label_range = label_range(wide if is_host(wide) else self.y) if self.has_labels else None
            self.classes = self._classes(classes)
        lowest, highest = self.label_range or (0, 1)
        self.one_class = classes is None and len(self) > 1 and lowest == highest
        self.sample_weight: Array | None = self._weights(sample_weight)

    def _weights(self, sample_weight: Any) -> Array | None:
        if sample_weight is None:
            return None
        weights = check.check_weights("sample_weight", sample_weight, len(self))
        return self.device.asarray(weights, "float32" if self.x.dtype != self.device.xp.float64 else "float64")

    def weighted(self, sample_weight: Any = None, class_weight: Any = None) -> "Dataset":
        """This data set with other weights: those it has, times these.

        Parameters
        ----------
        sample_weight : array or sequence, (n,), optional
            How much each example counts in the loss: 0 or more. Only the proportions matter.
        class_weight : dict, sequence (classes,), or "balanced", optional
            How much the examples of each class count; classes that a dict leaves out count 1. ``"balanced"`` lets all
            classes count the same in all, n / (classes · examples of the class).

        Examples
        --------
        >>> data = Dataset([[0.0], [1.0], [2.0], [3.0]], [0, 0, 0, 1], device="numpy")
        >>> data.weighted(class_weight="balanced").sample_weight
        array([0.6666667, 0.6666667, 0.6666667, 2.       ], dtype=float32)
        """
        weights = np.ones(len(self))
        if self.sample_weight is not None:
            weights = weights * to_numpy(self.sample_weight)
        if sample_weight is not None:
            weights = weights * check.check_weights("sample_weight", sample_weight, len(self))
        if class_weight is not None:
            labels = self._host_labels()
            if labels is None or self.classes is None:
                raise InvalidValueError("class_weight: expected data with classes, got real targets; use sample_weight")
            weights = weights * check.check_class_weight(class_weight, labels, self.classes)[labels]
        other = self._with(self.x, self.y, self.device)
        other.sample_weight = self._weights(weights)
        return other

    def _classes(self, classes: int | None) -> int | None:
        if classes is not None:
            classes = check.check_integer("classes", classes, minimum=1)
        if self.label_range is not None:
            lowest, highest = self.label_range
            check.check_labels(
                "y", lowest, highest, classes or highest + 1, "number the classes from 0, or raise classes"
            )
            return classes or highest + 1
        columns = int(self.y.shape[1])
        if classes is not None:
            if classes != columns:
                raise InvalidValueError(f"classes: expected {columns}, one a column of y, got {classes}")
            return classes
        return columns if columns > 1 and is_one_hot(self.y, self.device.xp) else None

    @property
    def has_labels(self) -> bool:
        """Whether `y` holds integer labels (n,) rather than targets (n, outputs)."""
        return bool(self.y.ndim == 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(int(size) for size in self.x.shape[1:])

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def __repr__(self) -> str:
        n, dtype = len(self), str(self.x.dtype).rpartition(".")[2]
        what = f"{self.classes} classes" if self.classes else f"{int(self.y.shape[1])} real target(s)"
        return f"Dataset({n} examples of shape {self.input_shape}, {dtype}, {what}, on {self.device})"

    def _with(self, x: Array, y: Array, device: Device) -> "Dataset":
        """The same kind of data with other columns, which need no checks."""
        other = object.__new__(Dataset)
        other.__dict__.update(self.__dict__ | {"x": x, "y": y, "device": device})
        return other

    def to(self, device: str | Device) -> "Dataset":
        """This data set on `device`: itself if it is there already; else another, which may share the host's memory."""
        device = select_device(device)
        if device == self.device:
            return self
        y_dtype = device.integer_dtype if self.has_labels else None
        other = self._with(device.asarray(self.x), device.asarray(self.y, y_dtype), device)
        other.sample_weight = None if self.sample_weight is None else device.asarray(self.sample_weight)
        return other

    def take(self, rows: Any) -> "Dataset":
        """The examples numbered `rows`: integers (k,), each in 0 … n - 1.

        Raises
        ------
        IndexError
            If a number is out of range.
        """
        rows = np.asarray(rows)
        if rows.size == 0:
            raise InvalidValueError("rows: expected at least one number, got none")
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise InvalidTypeError(f"rows: expected integers (k,), got {rows.dtype} of shape {rows.shape}")
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"rows: expected numbers in 0 … {len(self) - 1}, got {rows.min()} to {rows.max()}")
        xp = self.device.xp
        index = self.device.asarray(rows, self.device.integer_dtype)
        with self.device.scope():
            other = self._with(xp.take(self.x, index, axis=0), xp.take(self.y, index, axis=0), self.device)
            if self.sample_weight is not None:
                other.sample_weight = xp.take(self.sample_weight, index, axis=0)
        return other

    def split(self, *sizes: float, seed: int = 0, stratify: bool | None = None) -> tuple["Dataset", ...]:
        """Shuffle and divide: disjoint data sets of the given sizes, and the rest, if there is any, as one more.

        Parameters
        ----------
        *sizes : int or float
            Numbers of examples, or fractions between 0 and 1.
        seed : int
            The same seed gives the same split on every device.
        stratify : bool, optional
            Keep the proportions of the classes in each part; by default for data that have classes.

        Raises
        ------
        ValueError
            If the sizes exceed the data, or a class is too small to be divided.

        Examples
        --------
        >>> data = Dataset([[0.0], [1.0]] * 10, [0, 1] * 10, device="numpy")
        >>> [len(part) for part in data.split(0.7, 0.2, seed=1)]
        [14, 4, 2]
        """
        from sklearn.model_selection import train_test_split

        n, seed = len(self), check.check_seed(seed)
        counts = [check_count(size, n) for size in sizes]
        if not counts or sum(counts) > n:
            raise InvalidValueError(f"sizes: expected parts that sum to at most {n} examples, got {sizes}")
        labels = self._host_labels() if stratify is None or stratify else None
        if stratify and labels is None:
            raise InvalidValueError("stratify: expected data with classes, got real targets; use stratify=False")
        rest, parts = np.arange(n), []
        for count in counts:
            if count == len(rest):
                part, rest = rest, rest[:0]
            else:
                try:
                    strata = None if labels is None else labels[rest]
                    part, rest = train_test_split(rest, train_size=count, stratify=strata, random_state=seed % 2**32)
                except ValueError as error:
                    raise InvalidValueError(f"sizes: {sizes} cannot be had ({error}); use stratify=False") from error
            parts.append(part)
        return tuple(self.take(part) for part in [*parts, rest] if len(part))

    def _host_labels(self) -> np.ndarray | None:
        if self.classes is None:
            return None
        y = to_numpy(self.y)
        return y if self.has_labels else y.argmax(axis=1)

    def batches(
        self, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True, dtype: str = "float32"
    ) -> Iterator[tuple[Array, Array]]:
        """The mini-batches of one epoch, in the order that `seed` and `epoch` fix; the last may be short.

        Yields
        ------
        x : array, (batch_size, ...), `dtype`, integers divided by `scale`
        y : array, (batch_size,) labels or (batch_size, outputs) targets, as stored
        """
        batch_size = check.check_integer("batch_size", batch_size, minimum=1)
        epoch = check.check_integer("epoch", epoch, minimum=0)
        order = epoch_order(check.check_seed(seed), epoch, len(self), shuffle=shuffle)
        prepare = Preparation(check.check_dtype(dtype), 1, self.scale, labels=self.has_labels)
        for start in range(0, len(self), batch_size):
            part = self.take(order[start : start + batch_size])
            yield prepare.inputs(part.x, xp=self.device.xp), part.y


def as_dataset(name: str, data: Any, device: Device, dtype: str) -> Dataset:
    """Data in any accepted form, on `device`: a Dataset, a tuple ``(x, y)``, or an iterable of pairs of columns."""
    if isinstance(data, Dataset):
        return data.to(device)
    x, y = check.as_columns(name, data)
    return Dataset(x, y, device=device, dtype=dtype)
