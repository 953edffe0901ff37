"""Models and checkpoints that version 0.1.0 wrote load, answer as they did, and go on to where they led."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import nn_any as nn

from .runs_0_1_0 import CHECKPOINTS, DATA, MODELS, callbacks, numbers

FOLDER = Path(__file__).parent / "files_0_1_0"


def wanted(name):
    with np.load(FOLDER / "wanted.npz") as kept:
        return {key.removeprefix(f"{name}."): kept[key] for key in kept.files if key.startswith(f"{name}.")}


def equal(net, name, tolerance):
    found, expected = numbers(net), wanted(name)
    assert sorted(found) == sorted(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_models_load_and_answer(float64, name):
    kind = nn.Ensemble if name == "ensemble" else nn.Network
    net = kind.load(FOLDER / f"{name}.safetensors", device=float64.device)
    equal(net, name, 1e-5)
    if name == "ensemble":
        assert net.diverged.tolist() == [False, True, False]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_go_on(float64, name, tmp_path):
    make, options = CHECKPOINTS[name]
    path, net = tmp_path / "run.safetensors", make(float64.device)
    shutil.copy(FOLDER / f"{name}.safetensors", path)
    history = net.fit(DATA, **options, checkpoint=path, resume=True, callbacks=callbacks(name))
    assert len(history) == options["epochs"]
    equal(net, name, 2e-3 if name == "line_search" else 2e-5)


def test_the_mid_epoch_checkpoint_stands_in_mid_epoch():
    net = nn.Network.load(FOLDER / "mid_epoch.safetensors")
    assert (net.epoch, net.steps) == (1, 7)
