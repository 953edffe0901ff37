"""The picture of a sweep: a measure against the learning rate."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from os import PathLike
from typing import Any, TypeAlias

from nn_any.backends.libraries import INSTALL
from nn_any.files import write_atomically

Row: TypeAlias = Mapping[str, Any]

REMEDY = f"install it with: {INSTALL['matplotlib']}"


def sweep_picture(path: str | PathLike[str], rows: Sequence[Row], measure: str, title: str, seeds: int) -> None:
    """A measure against the learning rate, a line a weight decay, the spread over seeds shaded; PNG.

    Parameters
    ----------
    path : path
        An existing file there is replaced.
    rows : sequence of mappings
        The best first; each with ``learning_rate``, ``weight_decay``, ``mean`` (None: all diverged), ``spread`` and
        ``drawn`` (at random: then points, coloured by their weight decay, not lines).
    measure : str
        What was measured, for the axis; an accuracy is shown in per cent.
    seeds : int
        How many there were of each.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    factor, unit = (100, ", %") if "accuracy" in measure else (1, "")
    shown = [{**row, **{k: factor * row[k] for k in ("mean", "spread")}} for row in rows if row["mean"] is not None]
    drawn = any(row["drawn"] for row in rows)
    (_points if drawn else _lines)(axes, shown)
    if shown:
        ring: dict[str, Any] = {"marker": "o", "markersize": 13, "fillstyle": "none", "markeredgewidth": 1.2}
        axes.plot(shown[0]["learning_rate"], shown[0]["mean"], color="black", zorder=5, **ring)
    if lost := sorted({row["learning_rate"] for row in rows if row["mean"] is None}):
        at_the_foot = axes.get_xaxis_transform()
        axes.plot(lost, [0.02] * len(lost), "x", color="tab:red", transform=at_the_foot, label="diverged")
    axes.set_xscale("log")
    rates = sorted({row["learning_rate"] for row in rows})
    if not drawn and len(rates) <= 12:
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    about = f"mean of {seeds} seeds, {'bars' if drawn else 'shaded'}: ± one standard deviation; " if seeds > 1 else ""
    axes.set(xlabel="learning rate", ylabel=f"{measure}{unit}")
    axes.set_title(title, loc="left", fontsize=11, pad=20)
    axes.text(0, 1.02, f"{about}ringed: the best", transform=axes.transAxes, fontsize=9, color="0.4")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(title=None if drawn else "weight decay", frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def _lines(axes: Any, rows: Sequence[Row]) -> None:
    """A line for each weight decay, with its spread shaded."""
    from matplotlib import colormaps

    decays = sorted({row["weight_decay"] for row in rows})
    for i, decay in enumerate(decays):
        color = colormaps["viridis"](0.05 + 0.8 * i / max(1, len(decays) - 1))
        line = sorted((row for row in rows if row["weight_decay"] == decay), key=lambda row: row["learning_rate"])
        x, y, spread = ([row[name] for row in line] for name in ("learning_rate", "mean", "spread"))
        axes.plot(x, y, marker="o", markersize=5, color=color, label=f"{decay:g}")
        lower, upper = ([a + sign * b for a, b in zip(y, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, lower, upper, color=color, alpha=0.18, linewidth=0)


def _points(axes: Any, rows: Sequence[Row]) -> None:
    """A point for each pair, coloured by its weight decay."""
    x, y, spread, decays = ([row[k] for row in rows] for k in ("learning_rate", "mean", "spread", "weight_decay"))
    axes.errorbar(x, y, spread, fmt="none", ecolor="0.7", elinewidth=1, zorder=1)
    if len(set(decays)) > 1:
        points = axes.scatter(x, y, c=decays, norm="log", cmap="viridis", s=30, zorder=2)
        axes.figure.colorbar(points, ax=axes, label="weight decay")
    else:
        axes.scatter(x, y, s=30, zorder=2)
