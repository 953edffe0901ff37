"""Model files."""

import errno
import json
import os
import struct
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from safetensors.numpy import save

import nn_any as nn
from nn_any.core import layers
from nn_any.files import atomic, load_model, model, onnx_model

from . import place, places


@pytest.fixture
def net():
    return nn.Network([4, 5, 3], seed=1)


@pytest.fixture
def path(tmp_path, net):
    """A model file; the test may damage it, for there is another copy."""
    net.save(tmp_path / "copy")
    net.save(tmp_path / "model")
    return tmp_path / "model"


def loads_another_copy(path):
    return nn.Network.load(path.with_name("copy")).layers == nn.Network([4, 5, 3]).layers


def forge(path, tensors=None, **changes):
    """Another description or other tensors, and the digest that fits."""
    about, whole = load_model(path)
    about, tensors = about | changes, whole if tensors is None else tensors
    about["sha256"] = model._digest(about, tensors)
    path.write_bytes(save(tensors, metadata={"nn_any": json.dumps(about, sort_keys=True)}))


def header(text, body=b""):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return header({"t": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, bytes(4))


@place("files/atomic.py write_atomically: path: expected a folder to write {} in, found", "path: ", "found none; make ")
def test_no_folder_to_save_in(refused, net, tmp_path):
    path = tmp_path / "models" / "model"
    with refused:
        net.save(path)
    path.parent.mkdir()
    net.save(path)


@place(
    "files/atomic.py write_atomically: {}, expected a file to write, got a directory, {}", "models", "a file to write"
)
def test_a_folder_in_place_of_a_file(refused, net, tmp_path):
    path = tmp_path / "models"
    path.mkdir()
    with refused:
        net.save(path)
    net.save(path / "model")


@place("files/atomic.py write_atomically: {}, expected a file to write, got a device or a", "pipe", "a file to write")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_file(refused, net, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with refused:
        net.save(tmp_path / "pipe")
    net.save(tmp_path / "model")


@place("files/atomic.py write_atomically: {}, {}, {}", "model", "No space left on device")
def test_a_full_disk(refused, net, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, refused:
        patch.setattr(atomic.os, "fsync", full)
        net.save(tmp_path / "model")
    net.save(tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@place("core/options.py path: {}: expected a path, such as {}, got {}", "path: ", "'model.safetensors'")
def test_what_is_no_path(refused, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused:
        net.save(None)
    with refused:
        nn.Network.load(3)
    net.save("model.safetensors")
    nn.Network.load("model.safetensors")


@place("files/model.py load_model: path: expected a model file, found none at {}{}", "path: ", "a model file")
def test_no_model_file(refused, net, tmp_path):
    with refused:
        nn.Network.load(tmp_path / "model")
    net.save(tmp_path / "model")
    nn.Network.load(tmp_path / "model")
    net.save(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"; the folder has one, load '.*model\.safetensors'$"):
        nn.Network.load(tmp_path)


@place("files/model.py load_model: it does not say which format it has", "model", "use another copy")
def test_a_model_file_that_does_not_say_its_format(refused, path):
    forge(path, format="1")
    with refused:
        nn.Network.load(path)
    assert loads_another_copy(path)


@place("files/model.py load_model: {}: expected a model file of nn_any, got one that", "model", "use another copy")
def test_a_file_of_another_kind(refused, path):
    path.write_bytes(b"PK\3\4 a zip file")
    with refused:
        nn.Network.load(path)
    assert loads_another_copy(path)


@place("files/model.py load_model: {}: the content does not match its SHA-256, so the", "model", "use another copy")
def test_a_flipped_bit(refused, path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with refused:
        nn.Network.load(path)
    assert loads_another_copy(path)


@place("files/model.py load_model: {}: expected format {} or older, got {}; upgrade", "model", "upgrade nn_any")
def test_a_model_file_of_a_newer_version(refused, path, monkeypatch):
    forge(path, format=model.FORMAT + 1)
    with refused:
        nn.Network.load(path)
    monkeypatch.setattr(model, "FORMAT", model.FORMAT + 1)  # the newer version
    nn.Network.load(path)


@dataclass(frozen=True)
class Imported(nn.layers.Layer):
    pass


@place(
    "files/model.py as_model_file_errors: {}: expected the description of a network, got one",
    "model",
    "if a layer is your own, import it first",
)
def test_a_layer_that_is_not_imported(refused, path):
    nn.layers.register(Imported)
    net = nn.Network([4, Imported(), 3])
    net.save(path)
    del layers.base.registry._entries["Imported"]  # as in a process that has not imported it
    with refused:
        nn.Network.load(path)
    nn.layers.register(Imported)
    assert nn.Network.load(path).layers == net.layers


@place(
    "files/network.py load_host_snapshot: {}: expected an ensemble, got one network; use",
    "model",
    "use nn_any.Network.load",
)
def test_a_network_loaded_as_an_ensemble(refused, path):
    with refused:
        nn.Ensemble.load(path)
    nn.Network.load(path)


@place(
    "files/network.py load_host_snapshot: {}: expected one network, got an ensemble; use",
    "model",
    "use nn_any.Ensemble.load",
)
def test_an_ensemble_loaded_as_a_network(refused, path):
    nn.Ensemble([4, 3], 2).save(path)
    with refused:
        nn.Network.load(path)
    nn.Ensemble.load(path)


@place(
    "files/network.py read_description: epochs: expected those of {} members, got {}",
    "model: ",
    "use another copy",
)
def test_an_ensemble_that_lacks_epochs(refused, path):
    nn.Ensemble([4, 3], 2).save(path)
    forge(path, ensemble=load_model(path)[0]["ensemble"] | {"epochs": [0], "member_steps": [0], "diverged": [False]})
    with refused:
        nn.Ensemble.load(path)
    assert loads_another_copy(path)


W, B = np.zeros((5, 4), "float32"), np.zeros(5, "float32")
OUT = {"layers.1.params.0": np.zeros((3, 5), "float32"), "layers.1.params.1": np.zeros(3, "float32")}


@places(
    {
        "files/network.py _find_layer_tensors.find: {}: expected {} of shape {} in layer {}, got {};": {
            "layers.0.params.0": W.T.copy(),
            "layers.0.params.1": B,
        },
        "files/network.py _find_layer_tensors.find: {}: expected {} {} in layer {}, got {}; {}": {
            "layers.0.params.0": W
        },
        "files/network.py _find_layer_tensors.find: {}: expected {} of real numbers in layer {}, got": {
            "layers.0.params.0": W.astype(int),
            "layers.0.params.1": B,
        },
        "files/network.py _find_layer_tensors: {}: expected {} tensors for the layers, got {}; {}": {
            "layers.0.params.0": W,
            "layers.0.params.1": B,
            "layers.2.params.0": W,
        },
    },
    "model: expected",
    "use another copy",
)
def test_tensors_that_do_not_fit(refused, value, path):
    forge(path, OUT | value)
    with refused:
        nn.Network.load(path)
    assert loads_another_copy(path)


@places(
    {
        "files/safetensors.py parse_json: expected JSON of at most {} bytes, got {}": header(b" " * (2**25 + 1)),
        "files/safetensors.py parse_json: expected at most {} lists and {} values in JSON,": header(b"[" * 200_001),
        "files/safetensors.py parse_json: expected JSON of at most {} levels, got more": header(b"[" * 150_000),
        "files/safetensors.py parse_json: expected JSON of at most {} levels, got more (2)": header(
            b"[" * 40 + b"]" * 40
        ),
        "files/safetensors.py _unique: expected each key once in JSON, got one twice": header(b'{"a": 1, "a": 2}'),
        "files/safetensors.py parse: expected a header of {} bytes, got {} in all": b"\1\2\3",
        "files/safetensors.py parse: expected a table for a header, got {}": header([1]),
        "files/safetensors.py parse: expected texts for metadata, got something else": header({"__metadata__": 3}),
        "files/safetensors.py parse: tensor {}: expected {} of {} from byte {}, got {}": tensor(shape=(2,)),
        "files/safetensors.py parse: expected {} bytes of tensors, got {}": tensor() + b"more",
        "files/safetensors.py _offsets: tensor {}: expected dtype, shape and data_offsets,": header({"t": 3}),
        "files/safetensors.py _offsets: tensor {}: expected two offsets, got something": tensor(offsets=(0,)),
        "files/safetensors.py _dtype_and_shape: tensor {}: expected a dtype of {}, got another": tensor(dtype="F8"),
        "files/safetensors.py _dtype_and_shape: tensor {}: expected a shape of at most {} axes,": tensor(shape=3),
    },
    "model: expected a model file of nn_any",
    "use another copy",
)
def test_a_forged_file(refused, value, path):
    path.write_bytes(value)
    with refused:
        nn.Network.load(path)
    assert loads_another_copy(path)


@place("files/onnx_model.py save_onnx: to_onnx: expected the library onnx, found none", "to_onnx", "pip install onnx")
def test_without_onnx(refused, net, tmp_path, monkeypatch):
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnx", None)
        with refused:
            net.to_onnx(tmp_path / "net.onnx")
    net.to_onnx(tmp_path / "net.onnx")


@place(
    "files/onnx_model.py save_onnx: path: expected parameters of at most {} bytes, for",
    "2 GiB",
    "fewer units, a single",
)
def test_too_large_for_onnx(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "LARGEST", 200)
    ensemble = nn.Ensemble([4, 5, 3], 2, seed=1, dtype="float64")
    with refused:
        ensemble.to_onnx(tmp_path / "net.onnx")
    with refused:
        ensemble[0].to_onnx(tmp_path / "net.onnx")
    ensemble[0].astype("float32").to_onnx(tmp_path / "net.onnx")
    nn.Network([4, 3, 1], seed=1, dtype="float64").to_onnx(tmp_path / "net.onnx")


@dataclass(frozen=True)
class Ranks(nn.layers.Layer):
    """The place of each number in the order of them all, or how many are smaller, which comes to the same."""

    sorts: bool

    def forward(self, params, state, x, context):
        xp = context.xp
        if self.sorts:
            return xp.astype(xp.argsort(xp.argsort(x, axis=-1), axis=-1), x.dtype), state, x
        return xp.sum(xp.astype(x[..., :, None] > x[..., None, :], x.dtype), axis=-1), state, x


@place(
    "files/onnx_layers.py _by_formula: layers, entry {}, {}: expected a formula that ONNX",
    "layers, entry 1, Ranks(sorts=True)",
    "write it with elementwise functions, sums",
)
def test_a_layer_that_onnx_has_no_operators_for(refused, tmp_path):
    sorting, counting = (nn.Network([4, Ranks(sorts), 3], seed=1, device="numpy") for sorts in (True, False))
    with refused:
        sorting.to_onnx(tmp_path / "net.onnx")
    counting.to_onnx(tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(counting.feedforward(x), sorting.feedforward(x))
