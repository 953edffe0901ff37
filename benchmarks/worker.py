"""A process of its own for one workload and number of threads: ``python -m benchmarks.worker TASK RESULT``."""

import json
import logging
import sys
from pathlib import Path

from benchmarks.measuring import measure, memory
from benchmarks.sides import entries
from benchmarks.workloads import Job, workloads


def main(task, path):
    workload = workloads(task["device"])[task["workload"]]
    if task["steps"]:
        workload = workload.quick(task["steps"])
    job = Job(workload, task["device"], task["threads"] or 1)
    chosen = [entry for entry in entries(workload, task["device"]) if not task["sides"] or entry.name in task["sides"]]
    if task["kind"] == "memory":
        result = memory(job, chosen[0])
    else:
        logging.getLogger("nn_any").setLevel(logging.ERROR)  # the table names the engine
        result = measure(job, chosen, task["rounds"], lambda text: print(f"  {text}", file=sys.stderr, flush=True))
    Path(path).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
