"""SIGKILL at random moments: ``python -m tests.reliability.kills saving --count 200``, or ``training``. POSIX only.

``saving``: two processes save two different networks to one path as fast as they can; both are killed, and the file is
loaded. It must be one of the two networks, whole. ``training``: a process trains with a checkpoint; it is killed, and
started again by the same call, until the training has come to its end. The weights must then equal those of a training
that nobody interrupted, bit for bit.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import nn_any as nn

RESULTS = Path(__file__).parent / "results"
_EPOCHS = 60


def in_a_child(function, *arguments):
    """The process id of a fork that calls a function and ends."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        function(*arguments)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def numbers(net):
    """All parameters of a network, as bytes."""
    return b"".join(nn.to_numpy(array).tobytes() for array in (*net.weights, *net.biases))


def leftovers(folder):
    """The temporary files in a folder."""
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def saving(count, seed):
    """Kill two writers of one file, `count` times: what was found."""
    rng = np.random.default_rng(seed)
    nets = [nn.Network([40, hidden, 10], device="numpy", seed=hidden) for hidden in (30, 300)]
    whole = {numbers(net): f"network {i}" for i, net in enumerate(nets)}
    found, most, failed = Counter(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        nets[0].save(path)

        def writer(order):
            while True:
                for net in order:
                    net.save(path)

        for _ in range(count):
            children = [in_a_child(writer, order) for order in (nets, nets[::-1])]
            time.sleep(rng.uniform(0.005, 0.08))
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            try:
                found[whole.get(numbers(nn.Network.load(path, device="numpy")), "another")] += 1
            except Exception as error:
                failed.append(f"{type(error).__name__}: {error}")
            most = max(most, len(leftovers(folder)))
        nets[0].save(path)
        return {
            "kills": count,
            "processes killed": 2 * count,
            "loaded": dict(found),
            "failed": failed,
            "temporary files left by a kill, at most": most,
            "temporary files after the next save": len(leftovers(folder)),
        }


def train(path, finished, epochs):
    """The call that is made again after each kill; the weights go to a file when it has come to its end."""
    rng = np.random.default_rng(7)
    x, y = rng.random((600, 20), dtype=np.float32), rng.integers(0, 5, 600)
    layers = [20, nn.Dense(30, activation="relu"), nn.BatchNorm(), nn.Dropout(0.2), 5]
    net = nn.Network(layers, loss="cross_entropy", device="numpy", seed=8)
    optimizer = nn.Adam(nn.schedules.Cosine(0.01, epochs=epochs))
    checkpoint = {} if path is None else {"checkpoint": path, "resume": True}
    net.fit((x, y), epochs=epochs, batch_size=10, optimizer=optimizer, **checkpoint)
    Path(finished).write_bytes(numbers(net))


def training(count, seed, epochs, longest):
    """Kill trainings until `count` kills are done and the last training has ended: what was found."""
    rng = np.random.default_rng(seed)
    kills, runs, equal, failed, loaded = 0, 0, 0, [], 0
    with tempfile.TemporaryDirectory() as folder:
        finished, path = Path(folder, "finished"), Path(folder, "checkpoint.safetensors")
        os.waitpid(in_a_child(train, None, finished, epochs), 0)
        uninterrupted = finished.read_bytes()
        while kills < count:
            for old in (finished, path):
                old.unlink(missing_ok=True)
            runs, patience, stood = runs + 1, longest, None
            while True:
                child = in_a_child(train, path, finished, epochs)
                deadline = time.monotonic() + rng.uniform(0.01, patience)
                while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
                    time.sleep(0.002)
                if not ended[0]:
                    os.kill(child, signal.SIGKILL)
                    ended = os.waitpid(child, 0)
                if os.WIFEXITED(ended[1]):
                    break
                kills += 1
                stands = path.stat().st_mtime_ns if path.exists() else None
                patience = longest if stands != stood else 1.5 * patience  # a slow machine must get on as well
                stood = stands
                if path.exists():
                    try:
                        nn.Network.load(path, device="numpy")
                        loaded += 1
                    except Exception as error:
                        failed.append(f"{type(error).__name__}: {error}")
            if os.WEXITSTATUS(ended[1]):
                failed.append(f"run {runs}: exit {os.WEXITSTATUS(ended[1])}")
                break
            equal += finished.read_bytes() == uninterrupted
        return {
            "kills": kills,
            "trainings": runs,
            "equal to the uninterrupted one": equal,
            "checkpoints loaded after a kill": loaded,
            "failed": failed,
            "temporary files after the last": len(leftovers(folder)),
        }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("saving", "training"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=_EPOCHS, help="of each training")
    parser.add_argument("--longest", type=float, default=0.6, help="seconds until a training is killed, at most")
    parser.add_argument("--output", type=Path, help="where to write the result, as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.what == "saving":
        found = saving(chosen.count, chosen.seed)
    else:
        found = training(chosen.count, chosen.seed, chosen.epochs, chosen.longest)
    result = {
        "command": f"python -m tests.reliability.kills {chosen.what} --count {chosen.count} --seed {chosen.seed}",
        **found,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "nn_any": nn.__version__},
    }
    text = json.dumps(result, indent=1) + "\n"
    if chosen.output:
        chosen.output.parent.mkdir(exist_ok=True)
        chosen.output.write_text(text, encoding="utf-8")
    print(text)
    whole = found.get("equal to the uninterrupted one", 0) == found.get("trainings", 0)
    return 0 if whole and not found["failed"] and not found.get("loaded", {}).get("another") else 1


if __name__ == "__main__":
    sys.exit(main())
