"""Dataset: examples that live on a device."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any import validation as check
from nn_any.backends import Device, is_host, read_frame, select_device, to_numpy
from nn_any.core import options
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidIndexError, InvalidTypeError, InvalidValueError
from nn_any.core.random import epoch_order
from nn_any.core.schema import Schema
from nn_any.core.typing import Array
from nn_any.datasets.labels import named_classes, number_labels, text_labels
from nn_any.datasets.rows import Rows, are_rows, as_rows, check_placed, moved, taken
from nn_any.datasets.splitting import split_rows


class Dataset:
    """Inputs and targets on one device, checked once when made.

    Parameters
    ----------
    x : array, nested sequence, frame, or sparse matrix or array of SciPy, (n, ...), real, integer or boolean
        One example a row. It may share memory with what is given, so leave that unchanged. Integers, such as uint8
        images, become reals batch by batch. Frames of pandas, polars or PyArrow have columns of numbers, whatever the
        dtype that says so; where all are integers, they stay integers. A sparse matrix stays on the host, and rows of
        it become dense some at a time.
    y : array, nested sequence, series or frame, or sparse matrix (n, outputs)
        Labels (n,), integers or text, or targets (n, outputs): one-hot rows or real numbers. Real numbers (n,) become a
        column; a frame of one column is taken for (n,).
    classes : int, or sequence of names, optional
        The number of classes, or their names. By default one more than the largest label, or the number of columns of
        one-hot targets. Text labels are numbered in the order of the names; by default in that of the categories of a
        series, or sorted.
    device : str or Device, optional
        Where the data shall live; by default where `x` lives, or ``select_device(None)`` for NumPy arrays and lists.
    scale : float, optional
        What stored integers are divided by when they become reals: 255 for 8-bit images.
    dtype : str or dtype, optional
        ``"float32"`` or ``"float64"``, for real numbers; by default arrays keep theirs, and lists become float32.
    sample_weight : array or sequence, (n,), optional
        How much each example counts in the loss: 0 or more. Only the proportions matter. A row of weight 0 adds
        nothing to losses, gradients and measures, whatever its finite numbers.
    check_finite : bool
        Look for NaN and infinity in real numbers. False trusts the data.
    feature_names : sequence of str, optional
        What the columns of x (n, features) are called. If x is a frame, its columns of these names are taken, in this
        order; by default all of them, with their own names.
    target_names : sequence of str, optional
        What the columns of y are called, one for labels (n,); for a frame or a series as `feature_names`.

    Attributes
    ----------
    x : array, (n, ...), on `device`; `SparseRows` of that shape where a sparse matrix was given
    y : array, on `device`: labels (n,) in the library's default integer dtype, or targets (n, outputs), real floating
    classes : int or None
        None for real targets.
    class_names : tuple or None
        What the classes are called, if that was said, or if the labels are text.
    feature_names, target_names : tuple of str, or None
        What the columns of x and of y are called, if that is known.
    sample_weight : array, (n,), real floating, on `device`, or None
    one_class : bool
        Whether all labels are the same, though nobody said how many classes there are: nothing to learn from.

    Raises
    ------
    ValueError, TypeError
        For empty data, lengths that differ, NaN or infinity, masked entries, labels out of range or not among
        `classes` or missing, frames with text in x or with gaps, complex numbers, ragged rows, and arrays of two
        libraries or devices.

    Examples
    --------
    >>> data = Dataset([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [1, 1, 0], device="numpy")
    >>> data
    Dataset(3 examples of shape (2,), float32, 2 classes, on numpy:cpu)
    >>> Dataset([[0.0], [1.0], [2.0]], ["dog", "cat", "dog"], device="numpy").class_names
    ('cat', 'dog')
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        classes: int | list[Any] | tuple[Any, ...] | np.ndarray | None = None,
        device: str | Device | None = None,
        scale: float | None = None,
        dtype: Any = None,
        sample_weight: Any = None,
        check_finite: bool = True,
        feature_names: Iterable[str] | None = None,
        target_names: Iterable[str] | None = None,
    ) -> None:
        self.scale = check.check_scale(scale)
        for name, part in (("x", x), ("y", y)):
            if isinstance(part, Dataset):
                raise InvalidTypeError(f"{name}: expected an array, got {part!r}; pass dataset.{name}")
        dtype = None if dtype is None else options.dtype(dtype)
        listed = [isinstance(part, list | tuple) for part in (x, y)]
        x_dtype, y_dtype = (dtype or ("float32" if each else None) for each in listed)
        said = Schema(feature_names=feature_names, target_names=target_names)  # type: ignore[arg-type]  # any iterable
        self.feature_names, self.target_names = said.feature_names, said.target_names
        if (frame := read_frame("x", x)) is not None:
            frame = frame.select(self.feature_names)
            x, self.feature_names = frame.numbers(), self.feature_names or frame.names
        categories = None
        if (frame := read_frame("y", y)) is not None:
            frame = frame.select(self.target_names)
            (y, categories), self.target_names = frame.targets(), self.target_names or frame.names
        labels, own = text_labels(y), named_classes(classes)
        self.class_names = own
        if labels is not None:
            y, self.class_names = number_labels(labels, own or categories, classes)
        anywhere = listed[1] or frame is not None or labels is not None  # such targets go where x lives
        count: Any = len(self.class_names) if self.class_names is not None else classes
        y = check.as_array("y", y)
        if are_rows(x):
            if device is None:
                device = x.device if isinstance(x, Rows) else None if is_host(y) else Device.of(y)
            x, anywhere = as_rows("x", x), True
        x = x if isinstance(x, Rows) else check.as_array("x", x)
        if not anywhere:
            check.check_same_place("x", x, "y", y)
        shape = tuple(x.shape)
        if len(shape) < 2:
            raise InvalidValueError(
                f"x: expected (n, features) or more axes, got shape {shape}; one example a row: "
                "numpy.reshape(x, (-1, 1)) for one feature, or x.to_frame() of a series"
            )
        if 0 in shape:
            raise InvalidValueError(f"x: expected at least one example and one feature, got shape {shape}")
        if y.ndim not in (1, 2):
            raise InvalidValueError(f"y: expected labels (n,) or targets (n, outputs), got shape {tuple(y.shape)}")
        check.check_same_length("x", shape[0], "y", y.shape[0])
        check.check_named("feature_names", self.feature_names, "x", shape)
        check.check_named("target_names", self.target_names, "y", (*y.shape, 1)[:2])
        self.device = Device.of(x) if device is None and not is_host(x) else select_device(device)
        if scale is not None and check.is_real(x):
            raise InvalidValueError(
                f"scale: expected None for real x, got {scale!r}; it says how stored integers become reals"
            )

        self.x: Array = moved(x, self.device, x_dtype)
        if y.ndim == 1 and not check.is_real(y):
            check.check_integers_fit("y", y, self.device, self.device.integer_dtype)
        if check.is_real(y):
            self.y: Array = self.device.asarray(y, y_dtype)
            self.y = self.y[:, None] if y.ndim == 1 else self.y
        else:
            self.y = self.device.asarray(y, self.device.integer_dtype if y.ndim == 1 else dtype or "float32")
        if options.flag("check_finite", check_finite):
            check_placed("x", x, self.x)
            check_placed("y", y, self.y)
        with self.device.scope():
            self.label_range: tuple[int, int] | None = None
            if self.has_labels:
                labels = y if is_host(y) else self.y  # the host finds these without compiling
                xp = array_namespace(labels)
                self.label_range = int(xp.min(labels)), int(xp.max(labels))
            self.classes = self._classes(count)
        smallest, largest = self.label_range or (0, 1)
        self.one_class = classes is None and len(self) > 1 and smallest == largest
        self.sample_weight: Array | None = self._weights(sample_weight)

    def _weights(self, sample_weight: Any) -> Array | None:
        if sample_weight is None:
            return None
        weights = check.check_weights("sample_weight", sample_weight, len(self))
        return self.device.asarray(weights, "float64" if self.x.dtype == self.device.xp.float64 else "float32")

    def weighted(self, sample_weight: Any = None, class_weight: Any = None, *, classes: int | None = None) -> "Dataset":
        """This data set with other weights: those it has, times these.

        Parameters
        ----------
        sample_weight
            As for `Dataset`.
        class_weight : dict, sequence (classes,), or "balanced", optional
            How much the examples of each class count, in a dict by number or by name; classes that it leaves out count
            1. ``"balanced"`` lets all classes count the same in all, n / (classes · examples of the class).
        classes : int, optional
            How many classes there are, if more than the labels here tell.

        Examples
        --------
        >>> data = Dataset([[0.0], [1.0], [2.0], [3.0]], [0, 0, 0, 1], device="numpy")
        >>> data.weighted(class_weight="balanced").sample_weight
        array([0.6666667, 0.6666667, 0.6666667, 2.       ], dtype=float32)
        """
        weights = np.ones(len(self)) if self.sample_weight is None else to_numpy(self.sample_weight).astype("float64")
        if sample_weight is not None:
            weights = weights * check.check_weights("sample_weight", sample_weight, len(self))
        if class_weight is not None:
            labels = self._host_labels()
            if labels is None or self.classes is None:
                raise InvalidValueError("class_weight: expected data with classes, got real targets; use sample_weight")
            if isinstance(class_weight, dict) and self.class_names is not None:
                places = {name: i for i, name in enumerate(self.class_names) if isinstance(name, str)}
                class_weight = {places.get(name, name): weight for name, weight in class_weight.items()}
            known = max(self.classes, 2 if classes is None else classes)
            weights = weights * check.check_class_weight(class_weight, labels, known, self.class_names)[labels]
        other = copy.copy(self)
        other.sample_weight = self._weights(weights)
        return other

    def _classes(self, classes: int | None) -> int | None:
        if classes is not None:
            classes = options.integer("classes", classes)
        if self.label_range is not None:
            smallest, largest = self.label_range
            classes = classes or largest + 1
            check.check_labels("y", smallest, largest, classes, "number the classes from 0, or raise classes")
            return classes
        y, xp, columns = self.y, self.device.xp, int(self.y.shape[1])
        if classes not in (None, columns):
            raise InvalidValueError(f"classes: expected {columns}, one a column of y, got {classes}")
        if classes is not None or columns == 1:
            return classes
        one_hot = bool(xp.all((y == 0) | (y == 1)) & xp.all(xp.sum(y, axis=1) == 1))
        return columns if one_hot else None

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
        dtype = self.x.description if isinstance(self.x, Rows) else dtype
        what = f"{self.classes} classes" if self.classes else f"{int(self.y.shape[1])} real target(s)"
        return f"Dataset({n} examples of shape {self.input_shape}, {dtype}, {what}, on {self.device})"

    def with_scale(self, scale: float) -> "Dataset":
        """The same data, whose stored integers are divided by another number; it is not checked."""
        other = copy.copy(self)
        other.scale = scale
        return other

    def with_columns(self, places: list[int]) -> "Dataset":
        """The same examples with some of the columns of `x`, (n, features), in this order."""
        other = self.with_arrays(taken(self.x, np.array(places), self.device, axis=1), self.y)
        if self.feature_names is not None:
            other.feature_names = tuple([self.feature_names[place] for place in places])
        return other

    def with_classes(self, names: tuple[Any, ...]) -> "Dataset":
        """The same data with classes numbered by their places in `names`, which has all of `class_names`."""
        assert self.class_names is not None
        other, xp = copy.copy(self), self.device.xp
        places = [names.index(name) for name in self.class_names]
        with self.device.scope():
            if self.has_labels:
                table = self.device.asarray(np.array(places), self.device.integer_dtype)
                other.y = xp.take(table, self.y, axis=0)
                labels = to_numpy(xp.stack([xp.min(other.y), xp.max(other.y)])).tolist()
                other.label_range = labels[0], labels[1]
            else:
                columns = np.zeros((len(places), len(names)))
                columns[np.arange(len(places)), places] = 1
                other.y = self.y @ self.device.asarray(columns, options.dtype_name(self.y.dtype))
        other.class_names, other.classes = names, len(names)
        return other

    def with_arrays(self, x: Array, y: Array, device: Device | None = None) -> "Dataset":
        """The same kind of data with other arrays on `device`, by default this one's; they are not checked."""
        other = copy.copy(self)
        other.x, other.y, other.device = x, y, device or self.device
        return other

    def to(self, device: str | Device) -> "Dataset":
        """This data set on `device`: itself if it is there already; else another, which may share the host's memory."""
        device = select_device(device)
        if device == self.device:
            return self
        x = moved(self.x, device)
        if self.has_labels:
            check.check_integers_fit("y", self.y, device, device.integer_dtype)
        y_dtype = device.integer_dtype if self.has_labels else None
        other = self.with_arrays(x, device.asarray(self.y, y_dtype), device)
        for name, there, given in (("x", other.x, self.x), ("y", other.y, self.y)):
            if options.dtype_name(given.dtype) == "float64" != options.dtype_name(there.dtype):
                check_placed(name, given, there)
        other.sample_weight = None if self.sample_weight is None else device.asarray(self.sample_weight)
        return other

    def take(self, rows: Any) -> "Dataset":
        """The examples numbered `rows`: integers (k,), each in 0 … n - 1.

        Raises
        ------
        IndexError
            If a number is out of range.
        """
        rows = to_numpy(check.as_array("rows", rows))
        if rows.size == 0:
            raise InvalidValueError("rows: expected at least one number, got none")
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise InvalidTypeError(f"rows: expected integers (k,), got {rows.dtype} of shape {rows.shape}")
        if rows.min() < 0 or rows.max() >= len(self):
            raise InvalidIndexError(f"rows: expected numbers in 0 … {len(self) - 1}, got {rows.min()} to {rows.max()}")
        xp = self.device.xp
        index = self.device.asarray(rows, self.device.integer_dtype)
        with self.device.scope():
            other = self.with_arrays(taken(self.x, rows, self.device), xp.take(self.y, index, axis=0))
            if self.sample_weight is not None:
                other.sample_weight = xp.take(self.sample_weight, index, axis=0)
        return other

    def split(self, *sizes: float, seed: int = 0, stratify: bool | None = None) -> tuple["Dataset", ...]:
        """Shuffle and divide: disjoint data sets of the given sizes, and the rest, if there is any, as one more.

        Parameters
        ----------
        *sizes : int or float
            Numbers of examples, or fractions between 0 and 1. Fractions are rounded so that they add up (by largest
            remainder, with one example a part at least): those that sum to 1 give exactly as many parts.
        seed : int
            The same seed gives the same split on every device.
        stratify : bool, optional
            Keep the proportions of the classes in each part; by default for data that have classes.

        Raises
        ------
        ValueError
            If the sizes exceed the data, or a class has one example and cannot be divided.

        Examples
        --------
        >>> data = Dataset([[0.0], [1.0]] * 10, [0, 1] * 10, device="numpy")
        >>> [len(part) for part in data.split(0.7, 0.2, seed=1)]
        [14, 4, 2]
        >>> [len(part) for part in data.take(range(13)).split(0.8, 0.1, 0.1, seed=1)]
        [11, 1, 1]
        """
        labels = self._host_labels() if stratify is None or stratify else None
        if stratify and labels is None:
            raise InvalidValueError("stratify: expected data with classes, got real targets; use stratify=False")
        seed = options.integer("seed", seed, minimum=0)
        return tuple(self.take(part) for part in split_rows(len(self), sizes, labels, seed))

    def _host_labels(self) -> np.ndarray | None:
        if self.classes is None:
            return None
        y = to_numpy(self.y)
        if self.has_labels:
            return y
        return (y[:, 0] > 0.5).astype(int) if y.shape[1] == 1 else y.argmax(axis=1)

    def batches(
        self, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True, dtype: str = "float32"
    ) -> Iterator[tuple[Array, Array]]:
        """The mini-batches of one epoch, in the order that `seed` and `epoch` fix; the last may be short.

        Yields
        ------
        x : array, (batch_size, ...), `dtype`, integers divided by `scale`
        y : array, (batch_size,) labels or (batch_size, outputs) targets, as stored
        """
        batch_size = options.integer("batch_size", batch_size)
        epoch = options.integer("epoch", epoch, minimum=0)
        order = epoch_order(options.integer("seed", seed, minimum=0), epoch, len(self), shuffle=shuffle)
        prepare = Preparation(options.dtype(dtype), 1, self.scale, labels=self.has_labels)
        for start in range(0, len(self), batch_size):
            part = self.take(order[start : start + batch_size])
            x = part.x[...] if isinstance(part.x, Rows) else part.x
            with self.device.scope():
                inputs = prepare.inputs(x, xp=self.device.xp)
            yield inputs, part.y


def as_dataset(
    name: str,
    data: Any,
    device: Device,
    dtype: str,
    *,
    numbers: bool = False,
    class_names: tuple[Any, ...] | None = None,
    feature_names: tuple[str, ...] | None = None,
    target_names: tuple[str, ...] | None = None,
) -> Dataset:
    """Data in any accepted form, on `device`: a Dataset, a tuple ``(x, y)``, or an iterable of pairs of columns.

    Where y holds `numbers` to predict, integers are no labels. Text labels are numbered by `class_names`, and the
    columns of frames are picked by the other names, where these are known.
    """
    if isinstance(data, Dataset):
        return data.to(device)
    x, y = check.as_columns(name, data)
    feature_names = feature_names if _has_names("x", x) else None
    target_names = target_names if _has_names("y", y) else None
    if numbers:
        frame = read_frame("y", y)
        if frame is not None:
            frame = frame.select(target_names)
            y, target_names = frame.numbers(), target_names or frame.names
        array = check.as_array("y", y)
        if not check.is_real(array):
            array = Device.of(array).asarray(array, dtype)
            y = array.tolist() if isinstance(y, list | tuple) else array
    elif class_names is not None and text_labels(y) is None:
        class_names = None
    return Dataset(
        x,
        y,
        classes=None if numbers else class_names,
        device=device,
        dtype=dtype,
        feature_names=feature_names,
        target_names=target_names,
    )


def _has_names(name: str, obj: Any) -> bool:
    """Whether it is a frame whose columns have names."""
    frame = read_frame(name, obj)
    return frame is not None and frame.names is not None
