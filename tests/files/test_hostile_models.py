"""Model files that were forged: one named error each, nothing built, nothing drawn, nothing run."""

import json
import pickle
import struct
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import nn_any as nn
from nn_any.core.random import stream
from nn_any.files import load_model, model, safetensors, save_model


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    nn.Network([4, 5, 3], device="numpy", seed=1).save(path)
    return path


def forge(path, tensors=None, **changes):
    """The file with another description, and a digest that fits."""
    about, whole = load_model(path)
    about = {key: value for key, value in (about | changes).items() if value is not ...}
    tensors = whole if tensors is None else tensors
    about["sha256"] = model._digest(about, tensors)
    path.write_bytes(save(tensors, metadata={"nn_any": json.dumps(about, sort_keys=True)}))


def refused(path, message, kind=nn.Network):
    """The one error that loading ends with; what it allocates on the way is little."""
    tracemalloc.start()
    try:
        with pytest.raises(nn.ModelFileError, match=message) as caught:
            kind.load(path, device="numpy")
        assert tracemalloc.get_traced_memory()[1] < 10 * path.stat().st_size + 2**20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: expected")
    assert isinstance(caught.value, ValueError | nn.NnAnyError)


def dense(units, activation="sigmoid"):
    return {"type": "Dense", "units": units, "activation": activation, "initializer": "normal", "trainable": True}


@pytest.mark.parametrize("digits", [6, 9, 12, 400, 4_000])
def test_huge_layers_allocate_nothing(path, digits):
    honest, units = path.read_bytes(), 10**digits
    forge(path, layers=[dense(units), dense(3)])
    refused(path, r"expected params of shape \(1000.*, 4\) in layer 0, got \(5, 4\)")
    path.write_bytes(honest)
    forge(path, input_shape=[units])
    refused(path, r"expected params of shape \(5, 1000.*\) in layer 0, got \(5, 4\)")
    forge(path, input_shape=[units, units], layers=[{"type": "Flatten", "axes": 2}, dense(3)])
    refused(path, "expected 0 params in layer 0, got 2")


@pytest.mark.parametrize("digits", [6, 9, 12])
def test_huge_ensembles_allocate_nothing(path, digits):
    nn.Ensemble([4, 5, 3], 2, device="numpy", seed=1).save(path)
    honest, own = path.read_bytes(), load_model(path)[0]["ensemble"]
    forge(path, layers=[dense(10**digits), dense(3)])
    refused(path, r"expected params of shape \(1000.*, 4\) in layer 0, got \(5, 4\)", nn.Ensemble)
    path.write_bytes(honest)
    many = {name: value * 50 if isinstance(value, list) else value for name, value in own.items()}
    forge(path, ensemble=many)
    refused(path, "expected 2 params in layer 0, got 0", nn.Ensemble)
    forge(path, ensemble={})
    refused(path, "expected the description of a network, got one that makes none .*KeyError", nn.Ensemble)


def test_a_huge_input_in_front_of_layers_without_parameters(path):
    flat = {"type": "Flatten", "axes": 3}
    image = {"type": "RandomAffine", "rotation": 1.0, "translation": 0.0, "scale": 0.0, "shear": 0.0}
    forge(path, input_shape=[10**6, 10**6, 3], layers=[image, flat, dense(3)])
    refused(path, r"expected params of shape \(3, 3000000000000\) in layer 2, got \(5, 4\)|expected 0 params in layer")


def test_twenty_thousand_layers_take_no_second(path):
    affine = {"type": "RandomAffine", "rotation": 1.0, "translation": 0.0, "scale": 0.0, "shear": 0.0}
    forge(path, input_shape=[2, 2, 1], layers=[affine] * 20_000)
    with pytest.raises(nn.ModelFileError, match="expected a last layer with outputs of one axis"):
        nn.Network.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": 4}, "TypeError"),
        ({"input_shape": []}, "entry 0: expected a positive number of inputs"),
        ({"input_shape": [-4]}, "entry 0: expected a positive number of inputs"),
        ({"input_shape": [4.0]}, "entry 0: expected a positive number of inputs"),
        ({"layers": []}, "expected the input size and at least one layer"),
        ({"layers": None}, "TypeError"),
        ({"layers": [["Dense", 3]]}, "ValueError|TypeError"),
        ({"layers": [{"type": ["Dense"]}]}, "TypeError"),
        ({"layers": [{"type": "os.system", "command": "ls"}]}, "layer: expected one of .*Dense.*, got 'os.system'"),
        ({"layers": [{**dense(5), "more": 1}, dense(3)]}, "TypeError"),
        ({"layers": [dense(-5), dense(3)]}, "units of a Dense layer: expected a positive integer"),
        ({"layers": [dense(5, {"name": "leaky_relu", "slope": {}}), dense(3)]}, "TypeError|ValueError"),
        ({"layers": [dense(5, "__import__('os')"), dense(3)]}, "activation: expected one of"),
        ({"loss": "hinge"}, "loss: expected one of"),
        ({"loss": 3}, "TypeError|ValueError"),
        ({"dtype": "float16"}, "dtype: expected 'float32' or 'float64'"),
        ({"dtype": ["float32"]}, "dtype: expected 'float32' or 'float64'"),
        ({"seed": -1}, "seed: expected an integer of at least 0, got -1"),
        ({"seed": None}, "seed: expected an integer"),
        ({"epoch": 0.5}, "epoch: expected an integer"),
        ({"steps": True}, "steps: expected an integer"),
        ({"seed": ...}, "KeyError: 'seed'"),
        ({"layers": ...}, "KeyError: 'layers'"),
    ],
    ids=str,
)
def test_descriptions_that_make_no_network(path, changes, message):
    forge(path, **changes)
    refused(path, f"expected the description of a network, got one that makes none .*({message})")


def test_tensors_that_do_not_fit(path):
    whole = dict(load_model(path)[1])
    weights = whole["layers.0.params.0"]
    for change, message in (
        ({"layers.0.params.0": weights.T}, r"expected params of shape \(5, 4\) in layer 0, got \(4, 5\)"),
        ({"layers.0.params.0": weights.astype("int32")}, "expected params of real numbers in layer 0, got int32"),
        ({"layers.0.params.1": None}, "expected 2 params in layer 0, got 1"),
        ({"layers.0.params.2": weights}, "expected 2 params in layer 0, got 3"),
        ({"layers.0.state.0": weights}, "expected 0 state in layer 0, got 1"),
        ({"layers.7.params.0": weights}, "expected 4 tensors for the layers, got 5"),
    ):
        tensors = {name: tensor for name, tensor in (whole | change).items() if tensor is not None}
        forge(path, {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        refused(path, message)
        forge(path, whole)


def header(text, body=b"", length=None):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a header of 0 bytes, got 0 in all"),
        (b"\xff" * 64, r"expected a header of [\d,]+ bytes, got 56 in all"),
        (header("{}", length=10**15), r"expected a header of 1,000,000,000,000,000 bytes, got 2"),
        (header("[1]"), "expected a table for a header, got list"),
        (header("[" * 100_000 + "]" * 100_000), "expected JSON of at most 32 levels"),
        (header("[" * 300_000), "expected at most 200,000 lists"),
        (header("[" + "1," * 2_000_001 + "1]"), "expected at most 200,000 lists and 2,000,000 values"),
        (header(json.dumps({"a": json.loads("[" * 40 + "]" * 40)})), "expected JSON of at most 32 levels"),
        (header('{"a": 1, "a": 2}'), "expected each key once"),
        (header(b'{"\xff": 1}'), "utf-8"),
        (header(json.dumps({"__metadata__": {"nn_any": 3}})), "expected texts for metadata"),
        (header(json.dumps({"__metadata__": []})), "expected texts for metadata"),
        (header(json.dumps({"w": 3})), "expected dtype, shape and data_offsets"),
        (header(json.dumps({"w": tensor("F8")}), b"1234"), "expected a dtype of BOOL"),
        (header(json.dumps({"w": tensor(["F32"])}), b"1234"), "expected a dtype of BOOL"),
        (header(json.dumps({"w": tensor(shape=[-1])}), b"1234"), "expected a shape of"),
        (header(json.dumps({"w": tensor(shape=[1] * 99)}), b"1234"), "expected a shape of"),
        (header(json.dumps({"w": tensor(shape=[1.0])}), b"1234"), "expected a shape of"),
        (header(json.dumps({"w": tensor(shape=[2**40])}), b"1234"), r"expected \(1099511627776,\) of float32"),
        (header(json.dumps({"w": tensor(shape=[2**32, 2**32])}), b"1234"), "of float32 from byte 0"),
        (header(json.dumps({"w": tensor(offsets=[0, 4, 8])}), b"1234"), "expected two offsets"),
        (header(json.dumps({"w": tensor(offsets=[-4, 0])}), b"1234"), "expected two offsets"),
        (header(json.dumps({"w": tensor(offsets=[4, 8])}), b"12345678"), "from byte 0, got 4 … 8"),
        (header(json.dumps({"w": tensor(), "v": tensor()}), b"1234"), "from byte 4, got 0 … 4"),
        (header(json.dumps({"w": tensor()}), b"12345"), "expected 4 bytes of tensors, got 5"),
        (header(json.dumps({"w": tensor()}), b"1234"), "Expecting value"),
        (pickle.dumps({"weights": [1.0]}), "expected a header of"),
        (save({"w": np.zeros(3)}, metadata={"format": "pt"}), "Expecting value"),
        (save({"w": np.zeros(3)}, metadata={"nn_any": "[]"}), "it does not say which format it has"),
        (save({"w": np.zeros(3)}, metadata={"nn_any": '{"format": "1"}'}), "it does not say which format it has"),
    ],
    ids=range(30),
)
def test_headers_that_lie(path, content, message):
    path.write_bytes(content)
    refused(path, f"expected a model file of nn_any, got one that is damaged or of another kind .*{message}")


def test_a_file_from_a_newer_version(path):
    forge(path, format=2)
    refused(path, "expected format 1 or older, got 2; upgrade nn_any to read it")


def test_a_file_that_says_the_same_in_other_words(path):
    """A flipped bit that turns 1e-05 into 1E-05 changes nothing that is read; it is told all the same."""
    nn.Network([4, nn.LayerNorm(), 3], device="numpy", seed=1).save(path)
    whole = path.read_bytes()
    assert b"1e-05" in whole
    path.write_bytes(whole.replace(b"1e-05", b"1E-05"))
    with pytest.raises(nn.ModelFileError, match="the content does not match its SHA-256"):
        nn.Network.load(path)


def test_a_description_that_could_not_be_read_is_not_written(path):
    whole = path.read_bytes()
    with pytest.raises(ValueError, match="expected at most 200,000 lists"):
        save_model(path, {"history": [[]] * 300_000}, {})
    assert path.read_bytes() == whole


def test_our_reader_agrees_with_safetensors_own(tmp_path):
    from safetensors.numpy import load

    rng = np.random.default_rng(0)
    tensors = {f"t.{i}": rng.integers(0, 2, (i, 3)).astype(code) for i, code in enumerate(safetensors.DTYPES.values())}
    content = save(tensors, metadata={"a": "ä", "b": '"\\'})
    texts, found = safetensors.parse(content)
    assert texts == {"a": "ä", "b": '"\\'}
    for name, theirs in load(content).items():
        assert found[name].dtype == theirs.dtype
        np.testing.assert_array_equal(found[name], theirs)
    assert found.keys() == tensors.keys()


def test_every_layer_tells_the_shapes_that_it_draws():
    image = [nn.Conv2D(3, (2, 3), padding="same"), nn.MaxPool2D(2), nn.AveragePool2D(2), nn.BatchNorm(), nn.LayerNorm()]
    image += [nn.Flatten(), nn.Dropout(0.5), nn.RandomAffine(rotation=3), nn.ElasticDistortion(), nn.Activation("relu")]
    for layer, shape in [(nn.Dense(7), (5,)), (nn.BatchNorm(), (5,)), *((layer, (8, 9, 2)) for layer in image)]:
        layer = layer.with_defaults("sigmoid", nn.initializers.get("normal"), shape)
        drawn = layer.unpack(layer.init(stream(0, "weights", 0), shape))
        assert layer.parameter_shapes(shape) == tuple(array.shape for array in drawn), layer
        assert layer.state_shapes(shape) == tuple(array.shape for array in layer.init_state(shape)), layer


def test_a_layer_of_ones_own_that_tells_no_shapes(path):
    @nn.layers.register
    @dataclass(frozen=True)
    class Stretch(nn.layers.Layer):
        drawn = 0

        def init(self, rng, input_shape):
            Stretch.drawn += 1
            return (np.full(input_shape, 2.0),)

        def forward(self, params, state, x, context):
            return x * params[0][..., None, :], state, x

    net = nn.Network([4, Stretch(), 3], device="numpy", seed=0)
    net.save(path)
    Stretch.drawn = 0
    loaded = nn.Network.load(path, device="numpy")
    assert Stretch.drawn == 0
    x = np.ones((2, 4), dtype=np.float32)
    np.testing.assert_array_equal(loaded.feedforward(x), net.feedforward(x))


def test_loading_draws_no_initial_weights(path, monkeypatch):
    def forbidden(*arguments):
        raise AssertionError("initial weights were drawn")

    monkeypatch.setattr(nn.core.specification.Specification, "initial_params", forbidden)
    assert nn.Network.load(path, device="numpy").epoch == 0


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_what_is_no_file(path, what):
    path.unlink()
    if what == "folder":
        Path(path).mkdir()
    with pytest.raises(FileNotFoundError, match="path: expected a model file, found none at"):
        nn.Network.load(path)
