"""The command line as a process: with pipes, and on a terminal."""

import os
import subprocess
import sys

import pytest

NN_ANY = [sys.executable, "-m", "nn_any"]


def run(*arguments, cwd, **environment):
    """A finished process of the command, on the CPU and without colours."""
    env = {k: v for k, v in os.environ.items() if k not in ("NN_ANY_DEVICE", "NO_COLOR", "FORCE_COLOR")}
    env |= {"NN_ANY_DEVICE": "cpu", "PYTHONWARNINGS": "error", "PYTHONUTF8": "1", "COLUMNS": "100", **environment}
    return subprocess.run(
        [*NN_ANY, *arguments], cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8", timeout=120
    )


def call(capsys, *arguments, code=0):
    """What the command writes, run in this process: standard output and standard error."""
    from nn_any.cli import main

    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return out, err


posix = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")


def on_terminal(arguments, cwd, **environment):
    """What the command writes on a terminal of 100 columns, and its exit code."""
    import pty

    leader, follower = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NN_ANY_DEVICE", "NO_COLOR")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment}
    process = subprocess.Popen(
        [*NN_ANY, *arguments], cwd=cwd, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    return b"".join(chunks).decode("utf-8"), process.wait(timeout=60)
