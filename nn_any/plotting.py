"""Pictures, drawn by matplotlib, which is an optional extra and imported when something is drawn."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from os import PathLike
from typing import Any

from nn_any.files import write_atomically

REMEDY = "install it with: python -m pip install matplotlib"


def sweep_picture(path: str | PathLike[str], rows: Sequence[Mapping[str, Any]], measure: str, title: str) -> None:
    """A measure against the learning rate, a line a weight decay, the spread over seeds shaded; PNG.

    Parameters
    ----------
    path : path
        An existing file there is replaced.
    rows : sequence of mappings
        The best first; each with ``learning_rate``, ``weight_decay``, ``mean`` (None: all diverged), ``spread`` and
        ``drawn`` (at random: then points, not lines).
    measure : str
        What was measured, for the axis; an accuracy is shown in per cent.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatterSciNotation, NullFormatter

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    factor, unit = (100, ", %") if "accuracy" in measure else (1, "")
    known = [row for row in rows if row["mean"] is not None]
    decays = sorted({row["weight_decay"] for row in rows})
    colors = [colormaps["viridis"](0.05 + 0.8 * i / max(1, len(decays) - 1)) for i in range(len(decays))]
    drawn = any(row["drawn"] for row in rows)
    for decay, color in zip(decays, colors, strict=True):
        line = sorted((row for row in known if row["weight_decay"] == decay), key=lambda row: row["learning_rate"])
        x = [row["learning_rate"] for row in line]
        y = [factor * row["mean"] for row in line]
        spread = [factor * row["spread"] for row in line]
        label = f"{decay:.3g}"
        if drawn:
            axes.errorbar(x, y, spread, fmt="o", color=color, markersize=5, elinewidth=1, label=label)
            continue
        axes.plot(x, y, marker="o", markersize=5, color=color, label=label)
        lower, upper = ([a + sign * b for a, b in zip(y, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, lower, upper, color=color, alpha=0.18, linewidth=0)
    lost = sorted({row["learning_rate"] for row in rows if row["mean"] is None})
    if known:
        best = known[0]
        place = best["learning_rate"], factor * best["mean"]
        axes.plot(*place, marker="o", markersize=13, fillstyle="none", color="black", markeredgewidth=1.2, zorder=5)
    axes.plot(lost, [0.02] * len(lost), "x", color="tab:red", transform=axes.get_xaxis_transform(), label="diverged")
    axes.set_xscale("log")
    rates = sorted({row["learning_rate"] for row in rows})
    if not drawn and len(rates) <= 12:
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(_no_ticks())
    else:
        axes.xaxis.set_major_formatter(LogFormatterSciNotation())
    axes.set(xlabel="learning rate", ylabel=f"{measure}{unit}", title=title)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(decays) > 1 and len(decays) <= 10:
        axes.legend(title="weight decay", frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
