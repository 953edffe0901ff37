"""Whatever the shape, the dtype, the strides, the batch size and the device: the same numbers as a plain copy gives."""

import tempfile
from pathlib import Path

import numpy as np
import oracle
import pytest
from conftest import BACKENDS, need
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nn_any as nn

DEVICES = [BACKENDS[name] for name in ("numpy", "strict-device1", "torch", "jax")]
FEW = {"numpy": 50, "strict-device1": 15, "torch": 30, "jax": 4}  # JAX compiles each shape anew
DTYPES = ("float32", "float64", ">f4", "float16", "uint8", "int8", "int64", "uint16", "bool")


def layouts(array):
    """The same numbers, lying in memory in every way that NumPy knows."""
    spread = np.zeros(tuple(3 * size for size in array.shape), array.dtype)
    spread[tuple(slice(1, None, 3) for _ in array.shape)] = array
    locked = array.copy()
    locked.flags.writeable = False
    shifted = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    return {
        "contiguous": array,
        "Fortran": np.asfortranarray(array),
        "backwards": np.ascontiguousarray(array[::-1])[::-1],
        "mirrored": np.flip(np.flip(array).copy()),
        "strided": spread[tuple(slice(1, None, 3) for _ in array.shape)],
        "transposed": np.ascontiguousarray(array.T).T,
        "read-only": locked,
        "unaligned": shifted,
        "byte-swapped": array.astype(array.dtype.newbyteorder()),
    }


LAYOUTS = sorted(layouts(np.zeros((1, 1))))


@st.composite
def data(draw, *, dtypes=DTYPES, most=12):
    """Inputs (n, features) or images, labels (n,) of 3 classes, and a way for the inputs to lie in memory."""
    seed, n = draw(st.integers(0, 2**32 - 1)), draw(st.integers(2, most))
    shape = (n, *draw(st.sampled_from([(1,), (2,), (5,), (2, 3, 1)])))
    rng = np.random.default_rng(seed)
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    if dtype.kind == "f":
        x = rng.normal(size=shape).astype(dtype)
    else:
        info = np.iinfo(dtype) if dtype.kind != "b" else None
        x = rng.integers(max(info.min, -100), min(info.max, 100) + 1, shape) if info else rng.integers(0, 2, shape)
        x = x.astype(dtype)
    y = rng.integers(0, 3, n)
    y[:2] = 0, 2
    if draw(st.booleans()) and n > 2:  # one row for all
        x = np.broadcast_to(x[:1], shape)
        return x, y, "broadcast"
    lying = draw(st.sampled_from(LAYOUTS))
    return layouts(x)[lying], y, lying


def examples(test):
    """The test on every device, with few examples, the same every time."""

    @pytest.mark.parametrize("place", ["numpy", "strict-device1", "torch", pytest.param("jax", marks=pytest.mark.slow)])
    def on_every_device(place):
        backend = BACKENDS[place]
        need(backend.library)
        quick = [HealthCheck.too_slow, HealthCheck.differing_executors]
        fixed = settings(
            max_examples=FEW[place], deadline=None, derandomize=True, database=None, suppress_health_check=quick
        )

        @fixed
        @given(st.data())
        def run(choices):
            test(backend.device, choices.draw)

        run()

    on_every_device.__name__, on_every_device.__doc__ = test.__name__, test.__doc__
    return on_every_device


def plain(array):
    """A copy in C order and in the machine's byte order."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def network(x, device, **options):
    return nn.Network([x.shape[1:], *([nn.Flatten()] if x.ndim > 2 else []), 4, 3], device=device, seed=1, **options)


def arrays(net):
    return [nn.to_numpy(array) for array in (*net.weights, *net.biases)]


@examples
def test_a_data_set_holds_the_numbers_that_it_was_given(device, draw):
    x, y, _ = draw(data())
    dataset = nn.Dataset(x, y, device=device)
    np.testing.assert_array_equal(nn.to_numpy(dataset.x), x.astype(nn.to_numpy(dataset.x).dtype))
    np.testing.assert_array_equal(nn.to_numpy(dataset.y), y)
    assert dataset.device == device
    if x.dtype.kind in "biu":  # as stored, or in the widest that there is
        assert nn.to_numpy(dataset.x).dtype in (plain(x).dtype, device.integer_dtype)


@examples
def test_batches_hold_each_example_once(device, draw):
    x, y, _ = draw(data(dtypes=("float32", "uint8")))
    size, seed = draw(st.integers(1, len(x) + 3)), draw(st.integers(0, 2**40))
    parts = list(nn.Dataset(x, y, device=device).batches(size, seed=seed, epoch=draw(st.integers(0, 9))))
    assert [part[1].shape[0] for part in parts] == [size] * (len(x) // size) + [len(x) % size] * bool(len(x) % size)
    rows = [np.hstack([nn.to_numpy(a).reshape(a.shape[0], -1), nn.to_numpy(b)[:, None]]) for a, b in parts]
    wanted = np.hstack([x.reshape(len(x), -1).astype("float32"), y[:, None]])
    assert sorted(map(tuple, np.vstack(rows).tolist())) == sorted(map(tuple, wanted.tolist()))


@examples
def test_training_sees_the_numbers_and_not_how_they_lie(device, draw):
    x, y, _ = draw(data())
    size, epochs = draw(st.integers(1, len(x) + 3)), draw(st.integers(0, 2))
    nets = [network(x, device) for _ in range(2)]
    for net, inputs in zip(nets, (x, plain(x)), strict=True):
        assert len(net.SGD((inputs, y), epochs, size, 0.5)) == epochs
    for a, b in zip(*map(arrays, nets), strict=True):
        np.testing.assert_array_equal(a, b)


@examples
def test_a_step_is_that_of_a_loop_over_examples(device, draw):
    """One batch of all examples against the oracle in float64: the only order there is."""
    x, y, _ = draw(data(dtypes=("float32", "float64", ">f4", "int8", "bool")))
    x = x.reshape(len(x), -1)
    net = nn.Network([x.shape[1], 4, 3], device=device, seed=1)
    weights, biases = ([nn.to_numpy(a).astype("float64") for a in part] for part in (net.weights, net.biases))
    targets = np.eye(3)[y]
    nabla_b, nabla_w = oracle.batch_gradients(weights, biases, x.astype("float64"), targets, "quadratic")
    loss = oracle.batch_loss(weights, biases, x.astype("float64"), targets, "quadratic")
    np.testing.assert_allclose(net.loss((x, y)), loss, rtol=2e-5)
    history = net.SGD((x, y), 1, len(x), 0.3)
    np.testing.assert_allclose(history["loss"][0], loss, rtol=2e-5)
    for old, slope, new in zip(weights, nabla_w, net.weights, strict=True):
        np.testing.assert_allclose(nn.to_numpy(new), old - 0.3 * slope, rtol=1e-4, atol=1e-5)
    for old, slope, new in zip(biases, nabla_b, net.biases, strict=True):
        np.testing.assert_allclose(nn.to_numpy(new), old - 0.3 * slope, rtol=1e-4, atol=1e-5)


@examples
def test_answers_depend_on_the_numbers_alone(device, draw):
    x, y, _ = draw(data())
    net = network(x, device)
    for call in (net.feedforward, net.predict, net.predict_proba):
        np.testing.assert_array_equal(nn.to_numpy(call(x)), nn.to_numpy(call(plain(x))))
    assert net.evaluate((x, y)) == net.evaluate((plain(x), y))
    weights, biases = ([nn.to_numpy(a).astype("float64") for a in part] for part in (net.weights, net.biases))
    wanted = [oracle.feedforward(weights, biases, row) for row in x.reshape(len(x), -1).astype("float64")]
    np.testing.assert_allclose(nn.to_numpy(net.feedforward(x)), wanted, rtol=1e-4, atol=1e-6)


@examples
def test_a_file_gives_back_every_bit(device, draw):
    """Weights that lie in memory in any way, of any finite value, saved here and loaded anywhere."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    dtype = "float64" if draw(st.booleans()) and device.supports("float64") else "float32"
    net = nn.Network(sizes, device=device, dtype=dtype, seed=draw(st.integers(0, 2**70)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def drawn(array):
        """Bits at random, without NaN and infinity: the largest, the smallest and the denormal are among them."""
        values = np.frombuffer(rng.bytes(array.nbytes), array.dtype).reshape(array.shape).copy()
        values[~np.isfinite(values)] = -0.0
        return layouts(values)[draw(st.sampled_from(LAYOUTS))] if values.ndim == 2 else values

    weights, biases = ([drawn(nn.to_numpy(a)) for a in part] for part in (net.weights, net.biases))
    net.set_weights(weights, biases)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        net.save(path)
        whole = path.read_bytes()
        there = draw(st.sampled_from([other for other in DEVICES if other.library in ("numpy", "torch")]))
        need(there.library)
        loaded = nn.Network.load(path, device=there.device)
        loaded.save(path)
        assert path.read_bytes() == whole
    assert (loaded.seed, loaded.dtype, loaded.layers) == (net.seed, dtype, net.layers)
    for a, b in zip(arrays(loaded), [*weights, *biases], strict=True):
        assert a.tobytes() == plain(b).tobytes()
