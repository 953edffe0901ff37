"""Writes files_0_1_0: models and checkpoints of version 0.1.0, and what they lead to.

It needs the code of commit 84514f2, whose private names it uses to stop a run in mid-epoch. In a checkout of that
commit, with this folder copied to its tests: ``python -m tests.regression.write_files_0_1_0 FOLDER``.
"""

import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

import nn_any as nn
from nn_any import mini_batches

from .runs_0_1_0 import CHECKPOINTS, DATA, MODELS, callbacks, numbers

MID_EPOCH = 7
"""How many steps are done when the mid-epoch run is stopped; an epoch has five."""


class Stop(nn.Callback):
    """Interrupts a run: after two epochs, or after some steps."""

    def __init__(self, steps=None):
        self.steps = steps

    def on_train_begin(self, run):
        if self.steps is not None:
            network, renew = run.network, run.network._is_finite

            def look(carry):
                if network.steps + 2 == self.steps:
                    signal.raise_signal(signal.SIGINT)
                return renew(carry)

            network._is_finite = look

    def on_epoch_end(self, run):
        if self.steps is None and len(run.history) == 2:
            signal.raise_signal(signal.SIGINT)

    def on_train_end(self, run):
        vars(run.network).pop("_is_finite", None)


def main(folder):
    folder.mkdir(exist_ok=True)
    wanted = {}
    for name, (make, options) in MODELS.items():
        net = make("numpy")
        net.fit(DATA, **options)
        net.save(folder / f"{name}.safetensors")
        wanted |= {f"{name}.{key}": value for key, value in numbers(net).items()}
    mini_batches.segment_length = lambda *_: 2
    for name, (make, options) in CHECKPOINTS.items():
        path, stop = folder / f"{name}.safetensors", Stop(MID_EPOCH if name == "mid_epoch" else None)
        with contextlib.suppress(nn.TrainingInterrupted):
            make("numpy").fit(DATA, **options, checkpoint=path, callbacks=[*callbacks(name), stop])
        with tempfile.TemporaryDirectory() as elsewhere:
            copy, net = Path(elsewhere) / path.name, make("numpy")
            shutil.copy(path, copy)
            net.fit(DATA, **options, checkpoint=copy, resume=True, callbacks=callbacks(name))
        wanted |= {f"{name}.{key}": value for key, value in numbers(net).items()}
    np.savez_compressed(folder / "wanted.npz", **wanted)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
