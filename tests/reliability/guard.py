"""What stands around each reading of a hostile file: a clock, a measure of memory, and a watch for code that runs."""

import os
import signal
import sys
import time
import tracemalloc
from contextlib import contextmanager

MOST_SECONDS = 1.0
ALLOWANCE = 64 * 2**20  # bytes, besides ten times the file
TIMES_THE_FILE = 10
_ACTS = (
    "exec",
    "import",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "os.startfile",
    "os.kill",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.putenv",
    "subprocess.Popen",
    "socket.",
    "ctypes.",
    "shutil.",
    "pickle.find_class",
    "marshal.loads",
    "code.__new__",
    "builtins.input",
    "urllib.Request",
    "mmap.__new__",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_seen = None  # a list while someone watches


def _watch(event, arguments):
    if _seen is None:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
    if writes or event.startswith(_ACTS):
        _seen.append(f"{event}{arguments!r:.200}")


sys.addaudithook(_watch)  # there is no way to take one off again


class HangError(BaseException):
    """Twenty seconds have passed; no reader may catch this."""


def _hang(number, frame):
    raise HangError("20 s have passed")


class Report:
    """What one reading did.

    Attributes
    ----------
    seconds : float
    peak : int
        Bytes of memory at the highest, over those before.
    acts : list of str
        What was run, imported, written or connected to.
    """

    def __init__(self):
        self.seconds, self.peak, self.acts = 0.0, 0, []

    def faults(self, size):
        """What is wrong with it, for a file of `size` bytes."""
        found = [f"code: {act}" for act in self.acts]
        if self.seconds > MOST_SECONDS:
            found.append(f"time: {self.seconds:.2f} s")
        if self.peak > TIMES_THE_FILE * size + ALLOWANCE:
            found.append(f"memory: {self.peak:,} bytes for a file of {size:,}")
        return found


@contextmanager
def watching():
    """Measure what happens inside; memory where tracemalloc is on."""
    global _seen
    report = Report()
    traced = tracemalloc.is_tracing()
    if traced:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
    alarm = hasattr(signal, "setitimer")
    if alarm:
        old = signal.signal(signal.SIGALRM, _hang)
        signal.setitimer(signal.ITIMER_REAL, 20)
    _seen = report.acts
    start = time.perf_counter()
    try:
        yield report
    finally:
        report.seconds = time.perf_counter() - start
        _seen = None
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        if traced:
            report.peak = tracemalloc.get_traced_memory()[1] - before
