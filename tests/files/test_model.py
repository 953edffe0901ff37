"""Model files: whole or not at all, read on any backend, and nothing but a model is read."""

import json
import os
import pickle

import numpy as np
import pytest
from conftest import BACKENDS, need
from safetensors.numpy import save

import nn_any as nn
from nn_any.files import atomic, load_model, model, save_model, write_atomically

X = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
Y = np.arange(20) % 3


def trained(device, **arguments):
    net = nn.Network([4, nn.Dense(5, activation="tanh"), 3], loss="cross_entropy", device=device, seed=3, **arguments)
    net.SGD((X, Y), 2, 6, 0.5)
    return net


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_saved_on_one_backend_loaded_on_every_other(backend, path):
    net = trained(backend.device)
    net.save(path)
    for other in BACKENDS.values():
        if other.library == "cupy" or other.strictest:
            continue
        need(other.library)
        loaded = nn.Network.load(path, device=other.device)
        assert (loaded.device, loaded.dtype, loaded.seed, loaded.epoch, loaded.steps) == (
            other.device,
            "float32",
            3,
            2,
            8,
        )
        assert loaded.layers == net.layers
        for a, b in zip([*net.weights, *net.biases], [*loaded.weights, *loaded.biases], strict=True):
            assert nn.to_numpy(a).tobytes() == nn.to_numpy(b).tobytes()
        np.testing.assert_allclose(nn.to_numpy(loaded.feedforward(X)), nn.to_numpy(net.feedforward(X)), rtol=1e-5)


def test_a_loaded_network_goes_on_where_it_was(backend, path):
    net = trained(backend.device)
    net.save(path)
    loaded = nn.Network.load(path, device=backend.device)
    for each in (net, loaded):
        each.SGD((X, Y), 2, 6, 0.5)
    for a, b in zip(net.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(nn.to_numpy(a), nn.to_numpy(b))


def test_float64_stays_float64(float64, path):
    net = trained(float64.device, dtype="float64")
    net.save(path)
    assert nn.to_numpy(nn.Network.load(path, device=float64.device).weights[0]).dtype == np.float64


def test_the_same_network_is_the_same_file(path, tmp_path):
    for name in ("a", "b"):
        trained("numpy").save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_that_are_not_contiguous_are_saved_rightly(path):
    wide = np.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": wide.T,
        "strided": wide[::2, ::3],
        "backwards": wide[::-1],
        "fortran": np.asfortranarray(wide),
    }
    save_model(path, {}, tensors)
    for name, tensor in load_model(path)[1].items():
        np.testing.assert_array_equal(tensor, tensors[name])


def test_every_flipped_bit_and_every_cut_is_noticed(path):
    trained("numpy").save(path)
    whole = path.read_bytes()
    for i in range(0, 8 * len(whole), 17):
        path.write_bytes(whole[: i // 8] + bytes([whole[i // 8] ^ (1 << i % 8)]) + whole[i // 8 + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            load_model(path)
    for end in range(0, len(whole), 61):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="expected a model file of nn_any, got one that is damaged"):
            nn.Network.load(path)


def test_files_of_other_kinds(path, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    foreign = save({"w": np.zeros(3)}, metadata={"format": "pt"})
    for content in (b"", b"hello", pickle.dumps(Evil()), b"\x80\x04" * 100, foreign, b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match="expected a model file of nn_any, got one that is damaged or of another kind"
        ):
            nn.Network.load(path)
    assert not (tmp_path / "hacked").exists()
    with pytest.raises(FileNotFoundError, match="path: expected a model file, found none at"):
        nn.Network.load(tmp_path / "none")


def rewritten(path, **changes):
    """The saved network with another description, and a digest that fits."""
    about, tensors = load_model(path)
    about |= changes
    about["sha256"] = model._digest(about, tensors)
    path.write_bytes(save(tensors, metadata={"nn_any": json.dumps(about, sort_keys=True)}))


def test_a_newer_format_and_unknown_layers(path):
    trained("numpy").save(path)
    rewritten(path, format=99)
    with pytest.raises(ValueError, match="expected format 1 or older, got 99; upgrade nn_any"):
        nn.Network.load(path)
    trained("numpy").save(path)
    rewritten(path, layers=[{"type": "os.system", "command": "ls"}])
    with pytest.raises(ValueError, match="layer: expected one of .*Dense.*, got 'os.system'"):
        nn.Network.load(path, device="numpy")


def test_tensors_of_another_shape(path):
    trained("numpy").save(path)
    dense = {"type": "Dense", "activation": "sigmoid", "initializer": "normal"}
    rewritten(path, layers=[{**dense, "units": 6}, {**dense, "units": 3}])
    with pytest.raises(ValueError, match=r"expected params of shape \(6, 4\) in layer 0, got \(5, 4\)"):
        nn.Network.load(path, device="numpy")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, path, monkeypatch):
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_write_replaces_and_keeps_to_the_umask(tmp_path, path):
    for content in (b"one", b"two"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]
    if os.name == "posix":
        plain = tmp_path / "plain"
        plain.touch()
        assert path.stat().st_mode == plain.stat().st_mode


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        trained("numpy").save(tmp_path / "no" / "such" / "x")
    where = tmp_path / "no" / "such"
    assert str(caught.value) == f"path: expected a folder to write {where / 'x'} in, found none; make {where} first"
    with pytest.raises(OSError, match="directory|denied") as caught:
        write_atomically(tmp_path, b"x")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path), None)
