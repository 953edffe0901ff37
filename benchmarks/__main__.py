"""Times nn_any beside its peers and beside the bare matrix products: ``python -m benchmarks``. See docs/speed.md."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import checks, report
from benchmarks.measuring import in_process
from benchmarks.sides import entries
from benchmarks.workloads import workloads

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "jax", "keras", "cupy-cuda12x", "cupy-cuda13x", "threadpoolctl")
GROUPS = {"C": ("C10", "C128")}
ROOT = Path(__file__).parent.parent


def main(arguments=None):
    options = _options(arguments)
    if options.redraw:
        found = json.loads(options.redraw.read_text(encoding="utf-8"))
        limits = report.as_table(checks.HEAD, checks.rows(checks.checks(found)))
        text = f"{report.markdown(found)}\n### Limits\n\n{limits}"
        report.into_page(ROOT / "docs" / "speed.md", f"tables {found['device']}", text)
        if found["device"] == "cpu":
            report.into_page(ROOT / "README.md", "speed", report.summary(found))
        options.picture = options.picture or ROOT / "docs" / "images" / f"speed_{found['device']}.png"
    else:
        found = _measured(options, _keeper(options.json))
    report.show(found)
    if options.picture and not any(report.by_name(result) for result in found["results"]):
        print("no side has a time, so there is no picture", file=sys.stderr)
    elif options.picture:
        from benchmarks.picture import draw

        draw(found, options.picture)
    if options.check:
        print(checks.as_text(checks.checks(found)))
    wrong = [(r, side) for r in found["results"] for side in r["sides"] if not side.get("same", True)]
    for result, side in wrong:
        print(
            f"{report.title(result)}: {side['name']} computes something else, loss {side['check_loss']:.6f} "
            f"after the first steps instead of {side['reference_loss']:.6f}",
            file=sys.stderr,
        )
    return 1 if wrong else 0


def _options(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workloads", nargs="+", default=["S", "M", "L", "C", "E", "start"], metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="ignored with --device cuda")
    parser.add_argument("--sides", nargs="+", default=[], metavar="NAME", help="only these, as the table names them")
    parser.add_argument("--rounds", type=int, default=0, help="by default 5, and 2 with --quick")
    parser.add_argument("--quick", nargs="?", type=int, const=50, default=0, metavar="STEPS", help="short stretches")
    parser.add_argument("--no-memory", action="store_true", help="leave out the processes that measure memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every figure")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them, with matplotlib")
    parser.add_argument("--check", action="store_true", help="say which of the limits are kept")
    parser.add_argument("--redraw", type=Path, metavar="FILE", help="only put a JSON file into README and docs")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else 5)
    known = {*workloads(options.device), *GROUPS, "start"}
    if not set(options.workloads) <= known:
        parser.error(f"--workloads: expected some of {', '.join(sorted(known))}, got {' '.join(options.workloads)}")
    sides = {
        entry.name for workload in workloads(options.device).values() for entry in entries(workload, options.device)
    }
    if not set(options.sides) <= sides:
        parser.error(f"--sides: expected some of {'; '.join(sorted(sides))}; got {'; '.join(options.sides)}")
    return options


def _keeper(path):
    """What writes a report to its file, time and again, so that a run that is cut short leaves what it has."""

    def keep(found):
        if path:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    return keep


def _measured(options, keep):
    """Run all workloads on all numbers of threads, and `keep` the report after each."""
    names = [name for given in options.workloads for name in GROUPS.get(given, (given,)) if name != "start"]
    found = {
        "date": date.today().isoformat(),
        "device": options.device,
        "machine": _machine(options.device),
        "versions": _versions(),
        "rounds": options.rounds,
        "results": [],
    }
    threads = [None] if options.device == "cuda" else options.threads
    for name in names:
        workload = workloads(options.device)[name]
        workload = workload.quick(options.quick) if options.quick else workload
        for count in threads:
            task = {"workload": name, "device": options.device, "threads": count, "steps": options.quick}
            print(f"{name}, threads: {count or 'all'}", file=sys.stderr)
            sides = in_process({**task, "kind": "time", "rounds": options.rounds, "sides": options.sides}, count)
            if count == threads[-1] and not (options.quick or options.no_memory):
                _add_memory(task, workload, sides, count)
            result = {"workload": workload.figures(), "threads": count, "sides": sides}
            found["results"].append({**result, "ratios": report.ratios(result)})
            keep(found)
    if "start" in options.workloads:
        found["start"] = _start(2 if options.quick else 10)
        keep(found)
    return found


def _add_memory(task, workload, sides, threads):
    families = {entry.name: entry.family for entry in entries(workload, task["device"])}
    for side in sides:
        if side["status"] == "ok" and families[side["name"]] != "floor" and "floor" not in side["name"]:
            print(f"  {workload.name}, {side['name']}: memory", file=sys.stderr)
            try:
                side["memory"] = in_process({**task, "kind": "memory", "sides": [side["name"]]}, threads)
            except RuntimeError as error:
                side["memory_error"] = str(error)


def _start(rounds):
    """What whole processes take, in turn."""
    commands = {
        "python -c 'import numpy'": ["-c", "import numpy"],
        "python -c 'import nn_any'": ["-c", "import nn_any"],
        "nn-any --help": ["-m", "nn_any", "--help"],
    }
    seconds = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return {name: {"median": statistics.median(times[1:]), "seconds": times[1:]} for name, times in seconds.items()}


def _machine(device):
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    found = {"system": platform.system(), "processor": model or platform.processor() or platform.machine()}
    found |= {"architecture": platform.machine(), "cores": os.cpu_count()}
    if hasattr(os, "getloadavg"):
        found["load"] = os.getloadavg()[0]  # in how far the machine was quiet when it began
    if device == "cuda":
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        try:
            found["gpu"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            found["gpu"] = "no GPU that nvidia-smi knows"
    return found


def _versions():
    import nn_any

    found = {"Python": platform.python_version(), "nn_any": nn_any.__version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
