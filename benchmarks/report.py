"""What came out: tables for the terminal and for Markdown, from the JSON file alone."""

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

HEAD = (
    "side",
    "engine",
    "µs a step",
    "examples a second",
    "× floor",
    "NumPy ÷ it",
    "best ÷ it",
    "MiB",
    "compile, s",
    "loss",
)
NOTES = """\
µs a step: the median of the rounds; for E of one network's step. × floor: in times of the quickest floor.
NumPy ÷ it, best ÷ it: the time of nn_any on NumPy (for E: of its ensemble there) and of the quickest nn_any, divided
by this side's; below 1, nn_any is quicker. MiB: peak memory beyond the imports and the host's arrays.
Compile: how much longer the first steps took than later ones. Loss: on a thousand images after the same steps."""


def by_name(result):
    """The sides of one result that have a time."""
    return {side["name"]: side for side in result["sides"] if "median_seconds" in side}


def time_of(result, *families, starting=""):
    """The least time a step among families of sides, and the side; None if there is none."""
    found = [s for s in by_name(result).values() if s["family"] in families and s["name"].startswith(starting)]
    return min(found, key=lambda side: side["step_microseconds"]) if found else None


def ratios(result):
    """Every side's time divided by every other's: ``{side: {other: ratio}}``."""
    times = {name: side["step_microseconds"] for name, side in by_name(result).items()}
    return {a: {b: times[a] / times[b] for b in times if b != a} for a in times}


def title(result):
    """Which workload it is, on how many threads."""
    w, threads = result["workload"], result["threads"]
    place = "on the GPU" if threads is None else f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{w['name']}: {w['title']}; {place}, stretches of {w['steps']:,} steps"


def rows(result):
    """A row a side, as text."""
    floor, best = time_of(result, "floor"), time_of(result, "nn_any")
    numpy = by_name(result).get("nn_any on NumPy") or by_name(result).get("nn_any Ensemble on NumPy")
    for side in result["sides"]:
        if "median_seconds" not in side:
            yield (side["name"], side["status"], *[""] * (len(HEAD) - 2))
            continue
        time = side["step_microseconds"]
        loss = "" if side.get("loss") is None else f"{side['loss']:.4f}"
        differs = "" if side.get("same", True) else " differs!"
        yield (
            side["name"],
            side["engine"],
            _figure(side),
            f"{side['examples_per_second']:,.0f}",
            "" if floor is None else f"{time / floor['step_microseconds']:.2f}",
            *["" if o is None else f"{o['step_microseconds'] / time:.2f}" for o in (numpy, best)],
            "" if side.get("memory") is None else f"{side['memory'] / 2**20:,.0f}",
            f"{side['compile_seconds']:.1f}",
            loss + differs + ("*" if side.get("note") else ""),
        )


def start_rows(start):
    """What whole processes take, as text."""
    base = start["python -c 'import numpy'"]["median"]
    for command, times in start.items():
        yield command, f"{times['median']:.3f}", f"{times['median'] / base:.2f}"


START_HEAD = ("process", "seconds", "ratio to numpy")


def show(report, console=None):
    """Print every table."""
    console = console or (Console() if sys.stdout.isatty() else Console(width=160))
    for result in report["results"]:
        _print(console, title(result), HEAD, rows(result))
    if report.get("start"):
        _print(console, "Starting a process", START_HEAD, start_rows(report["start"]))
    console.print(NOTES, style="dim", highlight=False)


def _print(console, name, head, lines):
    table = Table(title=name, title_justify="left")
    for i, column in enumerate(head):
        table.add_column(column, justify="left" if i == 0 or column == "engine" else "right")
    for line in lines:
        table.add_row(*map(escape, line), style="bold" if line[0].startswith("nn_any") else None)
    console.print(table)


def markdown(report):
    """Every table as Markdown, with the machine and the versions above them."""
    machine, versions = report["machine"], report["versions"]
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        f"Measured on {report['date']} with {libraries}, on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}{gpu}; medians of {report['rounds']} rounds.\n"
    ]
    parts += [
        f"### {title(result)}\n\n{as_table(HEAD, rows(result))}{_starred(result)}" for result in report["results"]
    ]
    if report.get("start"):
        parts.append(f"### Starting a process\n\n{as_table(START_HEAD, start_rows(report['start']))}")
    return "\n".join(parts)


def _starred(result):
    """What the stars behind losses stand for."""
    notes = dict.fromkeys(side["note"] for side in result["sides"] if side["status"] == "ok" and side.get("note"))
    return "".join(f"\n\\* {note}\n" for note in notes)


def as_table(head, lines):
    rule = "|".join(["---", *["---:"] * (len(head) - 1)])
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"| {' | '.join(head)} |\n|{rule}|\n{body}"


SUMMARY_HEAD = ("µs a step", "floor", "nn_any on NumPy", "nn_any's best", "PyTorch", "best peer")


def summary(report):
    """A line a workload, on as many threads as there were, for the README."""
    last = {result["workload"]["name"]: result for result in report["results"]}
    lines = []
    for result in last.values():
        sides = by_name(result)
        numpy = sides.get("nn_any on NumPy") or sides.get("nn_any Ensemble on NumPy")
        cells = [_figure(side) for side in (time_of(result, "floor"), numpy)]
        cells += [_figure(time_of(result, "nn_any"), named=True), _figure(sides.get("PyTorch"))]
        cells += [_figure(time_of(result, "peer"), named=True)]
        lines.append((f"{result['workload']['name']}: {result['workload']['title']}", *cells))
    return as_table(SUMMARY_HEAD, lines)


def _figure(side, named=False):
    """A side's microseconds as text, with its name if that is wanted."""
    if side is None:
        return "–"
    time = side["step_microseconds"]
    name = f" ({side['name'].removeprefix('nn_any ').removeprefix('Ensemble ')})" if named else ""
    return (f"{time:,.1f}" if time < 1000 else f"{time:,.0f}") + name


def into_page(page, name, text):
    """Put `text` between ``<!-- name -->`` and ``<!-- end of name -->`` of a Markdown file."""
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed):
        raise ValueError(f"{page}: expected the lines {first.strip()} and {last}")
    page.write_text(f"{before}{first}{text}{last}{after}", encoding="utf-8")
