"""Frames and series as NumPy arrays, and what their columns are called.

narwhals reads them: pandas, polars, PyArrow, and more. None of these libraries is imported here.
"""

import difflib
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from nn_any.core.errors import InvalidKeyError, InvalidTypeError, InvalidValueError

_PLAIN = (np.ndarray, np.generic, list, tuple, dict, str, bytes, int, float, complex, type(None))
_DAY = "numpy.timedelta64(1, 'D')"
_SHOWN = 5
_KINDS = {"b": "numbers", "i": "numbers", "u": "numbers", "f": "numbers", "M": "dates", "m": "spans of time"}


class _Values(NamedTuple):
    """What a column holds."""

    kind: str
    """``"numbers"``, ``"text"``, ``"dates"``, ``"spans of time"``, ``"Python objects"``, or else its dtype."""
    array: np.ndarray
    """(n,), or fewer where rows are missing."""
    missing: np.ndarray
    """bool (n,): the rows that have no value."""
    is_null: bool
    """Whether the library calls what is missing null, rather than NaN."""


@dataclass(frozen=True)
class Frame:
    """A frame, or a series, of any library that narwhals reads."""

    name: str
    """The argument that it was given as."""
    table: Any
    """A frame or a series of narwhals; a frame of pandas, or of a library that is like it, as it is."""
    places: tuple[int, ...]
    """Which of its columns are meant."""
    labels: tuple[Any, ...]
    """What the library calls the columns."""
    names: tuple[str, ...] | None
    """The names of the columns as text; None where they are merely numbered 0, 1, 2, …"""
    rows: int
    is_series: bool
    polars: bool
    """Whether it has the methods of polars; pandas has those that the others have, or PyArrow by ``to_pandas``."""
    source: str
    """What messages call it."""

    def select(self, names: Sequence[str] | None) -> "Frame":
        """The columns of these names in this order; a series and a frame without names stay as they are.

        Raises
        ------
        KeyError
            If columns are missing; the message has the closest names.
        """
        if names is None or self.names is None or self.is_series:
            return self
        places = self._places(names, self.names)
        labels = tuple(self.labels[i] for i in places)
        return replace(self, places=tuple(self.places[i] for i in places), labels=labels, names=tuple(names))

    def entries(self, names: Sequence[str] | None) -> "Frame":
        """The entries of these names in this order, if this is a series whose index has names: a row of a frame."""
        index = getattr(self.table.to_native(), "index", None) if self.is_series and names is not None else None
        own = [] if index is None else index.tolist()
        if names is None or not own or not all(isinstance(label, str) for label in own):
            return self
        places = self._places(names, own)
        return replace(self, table=self.table[places], rows=len(places))

    def _columns(self) -> list[Any]:
        """Series of narwhals."""
        import narwhals as nw

        if self.is_series:
            return [self.table]
        if isinstance(self.table, nw.DataFrame):
            return [self.table.get_column(label) for label in self.labels]
        return [nw.from_native(self.table.iloc[:, place], series_only=True) for place in self.places]

    def numbers(self) -> np.ndarray:
        """Numbers (n, columns), or (n,) of a series; integers where all are integers.

        Raises
        ------
        TypeError, ValueError
            If a column holds no numbers, or values are missing.
        """
        if (plain := self._plain()) is not None:
            return plain
        found = self._checked([_values(column) for column in self._columns()])
        if self.is_series:
            return found[0].array
        dtype = np.result_type(*[each.array.dtype for each in found]) if found else np.dtype("float64")
        array = np.empty((self.rows, len(found)), dtype)
        for i, each in enumerate(found):
            array[:, i] = each.array
        return array

    def _plain(self) -> np.ndarray | None:
        """A frame of pandas whose columns are NumPy's, as numbers at once; None if some are not, or have gaps."""
        if not hasattr(self.table, "iloc"):
            return None
        table = self.table.iloc[:, list(self.places)]
        if not _are_plain(table.dtypes):
            return None
        array: np.ndarray = table.to_numpy()
        gaps = array.dtype.kind == "f" and array.size and np.isnan(array.min())
        return None if gaps or array.dtype.kind not in "biuf" else array

    def targets(self) -> tuple[np.ndarray, tuple[Any, ...] | None]:
        """Numbers (n,) or (n, columns), or labels (n,) as Python objects if text is among them; and their categories.

        Categories are those of a categorical column whose order is meant, but not numbers: these are what they say.
        """
        if len(self.places) != 1:
            return self.numbers(), None
        column = self._columns()[0]
        values, categories = _values(column), _categories(column)
        if values.kind == "text" or categories is not None:
            values = self._checked([values._replace(kind="numbers")])[0]
            labels = np.empty(self.rows, dtype=object)
            labels[:] = [_label(value) for value in values.array.tolist()]
            return labels, categories
        return self._checked([values])[0].array, None

    def _checked(self, found: list[_Values]) -> list[_Values]:
        """The same, where all of them are numbers without gaps."""
        for kind in dict.fromkeys(each.kind for each in found):
            if kind != "numbers":
                self._refuse(kind, [(i, each) for i, each in enumerate(found) if each.kind == kind])
        if gaps := sum(int(np.count_nonzero(each.missing)) for each in found):
            self._refuse_gaps(gaps, *next((i, each) for i, each in enumerate(found) if each.missing.any()))
        return found

    def _refuse(self, kind: str, found: list[tuple[int, _Values]]) -> None:
        """Columns of one other kind."""
        if kind == "text" and (written := [each for each in found if _are_numbers(each[1].array)]):
            kind, found = "numbers written as text", written
        place, values = found[0]
        example, row = _example(kind, values)
        labels = [self.labels[i] for i, _ in found]
        count = f" and in {len(found) - 1} other column(s)" if len(found) > 1 else ""
        raise InvalidTypeError(
            f"{self.name}: expected numbers, got {kind}{self._column(place)}{count}, such as {example} at row {row}; "
            f"{self._remedy(kind, labels)}"
        )

    def _refuse_gaps(self, count: int, place: int, values: _Values) -> None:
        """A column that has gaps, the first of them."""
        if self.polars:
            fill, drop = (".fill_null(0)", "") if values.is_null else (".fill_nan(0)", ".fill_nan(None)")
            drop += ".drop_nulls()"
        else:
            real = "" if values.is_null and self._is_plain() else ".astype('float32')"
            fill = f"{real}.fillna(0)"
            drop = f"{self.source.removeprefix(self.name)}{'' if values.is_null else real}.dropna()"
        remedy = f"drop those rows with {drop} on the frame that x and y come from"
        if values.missing.all() and not self.is_series:
            remedy = f"leave the column out with {self._without([self.labels[place]])}"
        elif self.name != "y":
            remedy += f", or fill the gaps with {self.source}{fill}"
        raise InvalidValueError(
            f"{self.name}: expected a value everywhere, got {'none' if values.is_null else 'nan'}{self._column(place)} "
            f"at row {int(np.argmax(values.missing))} ({count} missing in all); {remedy}"
        )

    def _is_plain(self) -> bool:
        """Whether pandas has all columns as NumPy's real numbers, and so can put any number into gaps."""
        frame = hasattr(self.table, "iloc")
        return _are_plain(self.table.dtypes if frame else [getattr(self.table.to_native(), "dtype", None)])

    def _remedy(self, kind: str, labels: list[Any]) -> str:
        """What to do about columns of another kind."""
        first, source = labels[0], self.source
        if kind == "numbers written as text":
            to = "polars.Float32" if self.polars else "'float32'"
            to = to if self.is_series else f"{{{', '.join(f'{label!r}: {to}' for label in labels)}}}"
            return f"convert them with {source}.{'cast' if self.polars else 'astype'}({to})"
        if kind == "text":
            return self._remedy_for_text(labels)
        aside = "" if self.is_series else f", or leave it out with {self._without(labels)}"
        column = source if self.is_series else f"polars.col({first!r})" if self.polars else f"{source}[{first!r}]"
        if kind == "dates":
            column = f"({column} - {column}.min())"
        elif kind != "spans of time":
            return f"put numbers in their place{aside}"
        days = f"{column}.dt.total_seconds() / 86400" if self.polars else f"{column} / {_DAY}"
        if not self.is_series:
            days = f"{source}.with_columns({days})" if self.polars else f"{source}.assign(**{{{first!r}: {days}}})"
        return f"count days with {days}{aside}"

    def _remedy_for_text(self, labels: list[Any]) -> str:
        source = self.source
        if self.is_series:
            return "put numbers in their place"
        if self.name == "y":
            return f"pass one column of labels, such as {source}[{labels[0]!r}], or columns of numbers"
        dummies = f"{source}.to_dummies({labels!r})" if self.polars else ""
        dummies = dummies or f"pandas.get_dummies({source}, columns={labels!r}, dtype='float32')"
        return f"make columns of numbers with {dummies}, or leave it out with {self._without(labels)}"

    def _without(self, labels: list[Any]) -> str:
        return f"{self.source}.drop({labels!r})" if self.polars else f"{self.source}.drop(columns={labels!r})"

    def _column(self, place: int) -> str:
        """Which column, for messages; the name of a series, if it has one."""
        return f" in column {self.labels[place]!r}" if self.labels[place] is not None else ""

    def _places(self, names: Sequence[str], own: Sequence[str]) -> list[int]:
        """Where names stand among a frame's own; all of them must."""
        places = {label: i for i, label in enumerate(own)}
        missing = [name for name in names if name not in places]
        if not missing:
            return [places[name] for name in names]
        others = [label for label in own if label not in names]
        plain = {label.strip().casefold(): label for label in others}
        closest = {name: difflib.get_close_matches(name.strip().casefold(), plain, 1) for name in missing}
        renamed = {plain[found[0]]: name for name, found in closest.items() if found}
        shown = ", ".join(map(repr, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        if renamed:
            found = f"the closest names are {', '.join(map(repr, list(renamed)[:_SHOWN]))}"
            mapping = repr(renamed) if self.polars or self.is_series else f"columns={renamed!r}"
            remedy = f"rename columns with {self.source}.rename({mapping})"
        else:
            found = f"it has {', '.join(map(repr, own[:_SHOWN])) or 'no columns'}{', …' if len(own) > _SHOWN else ''}"
            remedy = "add them to the row" if self.is_series else "add them, or rename columns"
            dummies = [name for name in missing if _is_dummy(name, names)]
            if self.name == "y" and not self.is_series:
                remedy = "add them, or pass arrays, whose columns have no names: y.to_numpy()"
            elif dummies and not self.is_series:
                added = ", ".join(f"{name!r}: 0" for name in dummies)
                add = "with_columns" if self.polars else "assign"
                remedy = f"add them, dummies that do not occur as {self.source}.{add}(**{{{added}}})"
            if self.name == "y":
                remedy = "add them, or pass arrays, whose columns have no names: y.to_numpy()"
        what = "target" if self.name == "y" else "feature"
        raise InvalidKeyError(
            f"{self.name}: expected a column for each {what}, got {len(missing)} missing ({shown}), and {found}; "
            f"{remedy}"
        )


def _is_dummy(name: str, names: Sequence[str]) -> bool:
    """Whether a name is that of a dummy, as far as names tell: others begin with the same word."""
    word = name.rpartition("_")[0] + "_"
    return word != "_" and any(other.startswith(word) for other in names if other != name)


def read_frame(name: str, obj: Any) -> Frame | None:
    """A frame or a series of any library; None for whatever is neither.

    Raises
    ------
    TypeError, ValueError
        If it is a lazy frame, or if two columns have one name.
    """
    if isinstance(obj, _PLAIN) or hasattr(obj, "__array_namespace__"):
        return None
    if hasattr(obj, "__dlpack__") and not hasattr(obj, "__arrow_c_array__"):
        return None
    import narwhals as nw

    obj = _whole(obj, nw)
    pandas_like = nw.dependencies.is_pandas_like_dataframe(obj)
    if pandas_like or hasattr(obj, "column_names"):  # the other libraries have no two columns of one name
        _check_names(name, obj.columns.tolist() if pandas_like else obj.column_names, pandas_like)
    table = obj if pandas_like else nw.from_native(obj, pass_through=True, allow_series=True)
    if isinstance(table, nw.LazyFrame):
        how = "collect" if table.implementation.is_polars() else "compute" if hasattr(obj, "compute") else ""
        load = f"{name}.{how}()" if how else f"narwhals.from_native({name}).collect().to_native()"
        raise InvalidTypeError(
            f"{name}: expected a frame in memory, got {type(obj).__name__}, a lazy one; read it with {load}"
        )
    if not pandas_like and not isinstance(table, nw.DataFrame | nw.Series):
        return None
    implementation = nw.Implementation.PANDAS if pandas_like else table.implementation
    polars = implementation.is_polars()
    source = name if polars or implementation.is_pandas_like() else f"{name}.to_pandas()"
    if isinstance(table, nw.Series):
        label = table.name or None
        label = None if isinstance(label, numbers.Number) else label
        names: tuple[str, ...] | None = None if label is None else (_text(label),)
        return Frame(name, table, (0,), (label,), names, len(table), True, polars, source)
    labels = table.columns.tolist() if pandas_like else list(table.columns)
    named = labels != list(range(len(labels)))
    texts = tuple(map(_text, labels))
    places = tuple(range(len(labels)))
    names = texts if named else None
    return Frame(name, table, places, tuple(labels), names, len(table), False, polars, source)


def frame_columns(name: str, obj: Any, feature_names: Sequence[str] | None) -> Any:
    """A frame as numbers (n, columns), its columns picked by their names; whatever is no frame as it is.

    Parameters
    ----------
    name : str
        The argument, for messages.
    obj : frame, or a row of one, or whatever else a network takes
    feature_names : sequence of str, optional
        The columns to pick, in this order; others are left out. Without them, or if the frame has no names, all columns
        are taken as they come.

    Raises
    ------
    KeyError
        If columns are missing; the message has the closest names.
    TypeError, ValueError
        If a column holds no numbers, or values are missing.
    """
    frame = read_frame(name, obj)
    return obj if frame is None else frame.select(feature_names).entries(feature_names).numbers()


def _whole(obj: Any, nw: Any) -> Any:
    """Arrays and indices of pandas and of PyArrow as their series; any other object as it is, unwrapped."""
    obj = nw.to_native(obj, pass_through=True)
    pandas, pyarrow = nw.dependencies.get_pandas(), nw.dependencies.get_pyarrow()
    if pandas is not None and isinstance(obj, pandas.api.extensions.ExtensionArray | pandas.Index):
        return pandas.Series(obj)
    if pyarrow is not None and isinstance(obj, pyarrow.Array):
        return pyarrow.chunked_array([obj])
    if pyarrow is not None and isinstance(obj, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([obj])
    return obj


def _check_names(name: str, labels: Sequence[Any], pandas_like: bool) -> None:
    """No two columns have one name."""
    texts = [_text(label) for label in labels]
    if len(set(texts)) < len(texts):
        twice = next(text for i, text in enumerate(texts) if text in texts[:i])
        rename = "set_axis([...], axis=1)" if pandas_like else "rename_columns([...])"
        raise InvalidValueError(
            f"{name}: expected columns of different names, got {twice!r} twice; rename them with {name}.{rename}"
        )


def _text(label: Any) -> str:
    """The name of a column as text; the levels of several are joined by dots."""
    return ".".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _label(value: Any) -> Any:
    """A label as text, a number or None; intervals and the like by what they are written as."""
    return value if value is None or isinstance(value, str | bytes | numbers.Number) else str(value)


def _categories(column: Any) -> tuple[Any, ...] | None:
    """The categories of a column in their order, if it is of a dtype that fixes them and they are not all numbers."""
    import narwhals as nw

    dtype = column.dtype
    fixed = dtype == nw.Enum or (dtype == nw.Categorical and column.implementation.is_pandas_like())
    found = getattr(column.to_native().dtype, "categories", None) if fixed else None
    categories = None if found is None else tuple(map(_label, found))
    return None if categories is None or all(isinstance(each, numbers.Number) for each in categories) else categories


def _values(column: Any) -> _Values:
    """What a series of narwhals holds."""
    import narwhals as nw

    dtype = column.dtype
    missing = np.zeros(len(column), dtype=bool)
    if column.null_count():
        missing = np.asarray(column.is_null().to_numpy(), dtype=bool)
        column = column.drop_nulls()
    if dtype == nw.Decimal or type(dtype).__name__ in ("Int128", "UInt128"):  # NumPy has neither
        array = column.cast(nw.Float64).to_numpy()
        if dtype != nw.Decimal and (not array.size or np.abs(array).max() < 2**53):
            array = array.astype("int64")
    else:
        array = np.asarray(column.to_numpy())
    if array.ndim == 1 and array.dtype.kind == "O":
        array = _from_objects(array)
    is_null = bool(missing.any())
    if not len(array):
        return _Values("numbers", np.zeros(0), missing, is_null)  # whatever they might have been, they are missing
    own = str(getattr(column.to_native(), "dtype", dtype))
    kind = "Python objects" if own == "object" else own
    if array.ndim == 1 and array.dtype.kind in _KINDS:
        kind = _KINDS[array.dtype.kind]
    elif dtype in (nw.Categorical, nw.Enum, nw.String) or any(isinstance(value, str) for value in array.tolist()):
        kind = "text"
    if array.dtype.kind == "f" and not is_null:
        missing = np.isnan(array)
    return _Values(kind, array, missing, is_null)


def _example(kind: str, values: _Values) -> tuple[str, int]:
    """What to show of a column in messages, and its row."""
    array = values.array
    place = 0
    if kind == "text":
        place = next((i for i, value in enumerate(array.tolist()) if isinstance(value, str)), 0)
    shown = str(array[place]) if array.dtype.kind in "Mm" else repr(array.tolist()[place])
    return shown[:80], int(np.flatnonzero(~values.missing)[place])


def _are_plain(dtypes: Iterable[Any]) -> bool:
    """Whether all dtypes are NumPy's, of real numbers."""
    return all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in set(dtypes))


def _from_objects(array: np.ndarray) -> np.ndarray:
    """Python's numbers (n,) as NumPy's; other objects as they are."""
    values = array.tolist()
    if not all(isinstance(value, numbers.Real | Decimal | np.bool_) for value in values):
        return array
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        return array.astype(bool)
    whole = all(isinstance(value, numbers.Integral) and abs(int(value)) < 2**63 for value in values)
    return array.astype("int64" if whole else "float64")


def _are_numbers(texts: np.ndarray) -> bool:
    """Whether each text is a number."""
    try:
        texts.astype(str).astype("float32")
    except ValueError:
        return False
    return True
