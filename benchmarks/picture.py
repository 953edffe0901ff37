"""The picture: a panel a workload, a bar a side, its length the time a step in times of the floor's."""

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from benchmarks.report import by_name, time_of

COLOURS = {"floor": "#9aa0a6", "nn_any": "#1a73e8", "peer": "#e8a33d"}
LONGEST = 12
"""Where bars are cut, in times of the floor; their figures stand beside them."""


def draw(report, path):
    """Write the picture of a report; its bars are those of the sides that have a time."""
    names = list(dict.fromkeys(result["workload"]["name"] for result in report["results"]))
    panels = [[r for r in report["results"] if r["workload"]["name"] == name] for name in names]
    panels = [panel for panel in panels if any(by_name(result) for result in panel)]
    if not panels:
        raise ValueError("report: expected at least one side with a time, got none")
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    sizes = [max(len(_sides(p)) for p in panels[i * columns : (i + 1) * columns]) for i in range(lines)]
    figure = Figure(figsize=(7.2 * columns, sum(0.36 * size + 1.1 for size in sizes) + 0.9), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, height_ratios=[size + 2 for size in sizes])
    for place, panel in zip(grid.flat, panels, strict=False):
        _panel(place, panel)
    for place in grid.flat[len(panels) :]:
        place.set_axis_off()
    when = f"{report['date']}, {report['machine'].get('gpu') or report['machine']['processor']}"
    figure.suptitle(f"Time of a training step, in times of its bare matrix products\n{when}", fontsize=13)
    figure.savefig(path, dpi=110)


def _sides(panel):
    """The sides of a panel, the quickest last, so that it stands on top."""
    best = {}
    for result in panel:
        for name, side in by_name(result).items():
            if side["family"] != "variant":
                best[name] = min(best.get(name, float("inf")), side["step_microseconds"])
    return sorted(best, key=lambda name: -best[name])


def _panel(place, panel):
    names, height = _sides(panel), 0.8 / len(panel)
    bars = []
    for k, result in enumerate(panel):
        floor = time_of(result, "floor") or time_of(result, "nn_any", "peer")
        for i, name in enumerate(names):
            if side := by_name(result).get(name):
                ratio = side["step_microseconds"] / floor["step_microseconds"]
                bars.append((i + 0.4 - (k + 0.5) * height, ratio, side, result["threads"], k))
    end = min(max(ratio for _, ratio, *_ in bars), LONGEST)
    for y, ratio, side, threads, k in bars:
        place.barh(y, min(ratio, end), height * 0.92, color=COLOURS[side["family"]], alpha=1 if k == 0 else 0.6)
        cut = " …" if ratio > end else ""
        pools = f", {threads} thread{'s' if threads > 1 else ''}" if len(panel) > 1 else ""
        label = f"{cut}{ratio:.2f}× · {_time(side['step_microseconds'])}{pools}"
        place.text(min(ratio, end) + 0.012 * end, y, label, va="center", fontsize=7.5, color="#333333")
    place.axvline(1, color="#444444", linewidth=1)
    place.set_yticks(range(len(names)), names, fontsize=9)
    for text, name in zip(place.get_yticklabels(), names, strict=True):
        text.set_fontweight("bold" if name.startswith("nn_any") else "normal")
    place.set_xlim(0, end * 1.32)
    place.set_ylim(-0.6, len(names) - 0.4)
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(0, end)
    place.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= end]))
    place.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    place.set_title(f"{panel[0]['workload']['name']}: {panel[0]['workload']['title']}", fontsize=11, loc="left")
    for edge in ("top", "right", "left"):
        place.spines[edge].set_visible(False)
    place.tick_params(axis="y", length=0)
    place.grid(axis="x", color="#dddddd", linewidth=0.6)
    place.set_axisbelow(True)


def _time(microseconds):
    if microseconds >= 10_000:
        return f"{microseconds / 1000:,.0f} ms"
    return f"{microseconds:,.0f} µs" if microseconds >= 100 else f"{microseconds:.1f} µs"
