"""The proofs in short; the commands beside this file run them in full."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from reliability import flips, fuzz, guard

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork are POSIX's")


@pytest.mark.parametrize("kind", fuzz.FORMATS)
def test_hostile_files(kind):
    found = fuzz.run(kind, 0, 0, 300)
    faults = [fault for entry in found["faulty"] for fault in entry["faults"]]
    assert [fault for fault in faults if not fault.startswith("time")] == []  # this machine may be busy
    outcomes = found["outcomes"]
    assert sum(outcomes.values()) == 300
    assert outcomes["read"] > 0  # some changes leave a file whole, so the readers were reached
    assert set(outcomes) == {"read", "ModelFileError" if kind == "model" else "DataFileError"}


def test_the_same_number_is_the_same_file():
    for kind, (_, _, seeds, _) in fuzz.FORMATS.items():
        honest = seeds()
        assert [fuzz.make(kind, 3, i, honest) for i in range(20)] == [fuzz.make(kind, 3, i, seeds()) for i in range(20)]


def test_the_guard_notices(tmp_path):
    """A proof that finds nothing has to be able to find something."""
    acts = {
        "open": lambda: (tmp_path / "written").write_text("x"),
        "exec": lambda: eval("1 + 1"),
        "os.mkdir": lambda: os.mkdir(tmp_path / "made"),
        "os.system": lambda: os.system("true"),
    }
    for event, act in acts.items():
        with guard.watching() as report:
            act()
        assert any(seen.startswith(event) for seen in report.acts), event
    tracemalloc.start()
    try:
        with guard.watching() as report:
            np.ones(2**24).sum()
    finally:
        tracemalloc.stop()
    assert report.peak >= 8 * 2**24
    assert [fault[:6] for fault in report.faults(10)] == ["memory"]
    report.seconds = 1.5
    assert report.faults(2**30) == ["time: 1.50 s"]


def test_flipped_bits_and_truncations(tmp_path):
    _, path = flips.trained(tmp_path, (4, 3, 10))
    whole = path.read_bytes()
    places = range(0, 8 * len(whole), 13)
    assert flips.flips(path, whole, places) == {"ModelFileError": len(places)}
    lengths = range(0, len(whole), 7)
    assert flips.truncations(path, whole, lengths) == {"ModelFileError": len(lengths)}
    path.write_bytes(whole)
    assert flips.told(path) == "none"


def killed(*arguments):
    """The command in a process of its own: this one has threads, and shall not fork."""
    command = [sys.executable, "-m", "reliability.kills", *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@posix
def test_kills_during_saving():
    found = killed("saving", "--count", "5")
    assert found["failed"] == []
    assert set(found["loaded"]) <= {"network 0", "network 1"}
    assert sum(found["loaded"].values()) == 5
    assert found["temporary files left by a kill, at most"] <= 2
    assert found["temporary files after the next save"] == 0


@posix
def test_kills_during_training():
    found = killed("training", "--count", "5", "--epochs", "8", "--longest", "0.2")
    assert found["failed"] == []
    assert found["kills"] >= 5
    assert found["equal to the uninterrupted one"] == found["trainings"] >= 1
    assert found["temporary files after the last"] == 0
