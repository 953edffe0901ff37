"""Whatever runs the steps of a backend gives what the plain loop gives, to rounding, and says what it was."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from conftest import BACKENDS, need

import nn_any as nn
from nn_any.core import functional
from nn_any.core.batches import Preparation
from nn_any.core.layers import Layer
from nn_any.core.trees import tree_leaves, tree_map

RNG = np.random.default_rng(0)
NETWORKS = {
    "dense": ([6, 5, nn.Dense(3, activation="softmax")], "log_likelihood"),
    "book": ([6, 5, 3], "quadratic"),
    "normalized": ([6, 5, nn.BatchNorm(), nn.Dropout(0.3), 3], "cross_entropy"),
    "convolution": (
        [(5, 5, 2), nn.Conv2D(3, 2, activation="relu"), nn.MaxPool2D(2), nn.Flatten(), nn.Dropout(0.2), 3],
        "quadratic",
    ),
}
OPTIMIZERS = {
    "sgd": nn.SGD(0.5),
    "momentum": nn.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": nn.Adam(0.01),
}


def network(device, kind="dense", dtype="float64"):
    layers, loss = NETWORKS[kind]
    return nn.Network(layers, loss=loss, device=device, dtype=dtype, seed=3)


def data(kind="dense", n=23):
    shape = NETWORKS[kind][0][0]
    return np.random.default_rng(1).normal(size=(n, *(shape if isinstance(shape, tuple) else (shape,)))), np.arange(
        n
    ) % 3


def numbers(tree):
    return [nn.to_numpy(leaf).copy() for leaf in tree_leaves(tree)]


def agree(one, other, **tolerances):
    for a, b in zip(numbers(one), numbers(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


def trained(device, kind, optimizer, engine, dtype="float64"):
    """Three epochs of five batches, the last one short, with another learning rate at each step."""
    net = network(device, kind, dtype)
    optimizer = replace(optimizer, learning_rate=nn.schedules.Cosine(optimizer.learning_rate, epochs=3))
    return net, net.fit(data(kind), epochs=3, batch_size=5, optimizer=optimizer, engine=engine)


def engine_of(device, kind, optimizer):
    """The name of the engine that runs such steps; CuPy's tells only then what it is."""
    if device.library != "cupy":
        return device.training_engine("auto").name
    return "cupy fused kernel" if optimizer == "sgd" and kind in ("dense", "book") else "cupy graph"


def segment(net, steps=6, batch=4, optimizer=nn.SGD(1.0)):  # noqa: B008
    """A step and what an engine wants to run it: the columns, an order, and rates that differ."""
    device = net.device
    x, y = data()
    prepare = Preparation(net.dtype, 3, None, True)
    step = functional.train_step(net.layers, net.specification.loss, optimizer.update_rule(), prepare)
    columns = (device.asarray(x, net.dtype), device.asarray(y, device.integer_dtype))
    order = device.asarray(RNG.integers(0, len(x), (steps, batch)), device.integer_dtype)
    return step, columns, order, device.asarray(np.linspace(0.1, 0.9, steps), net.dtype)


@pytest.mark.backends("numpy", "strict", "torch", "jax", "cupy")  # the others have engines of these
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_chosen_engine_equals_numpys_plain_loop(float64, kind, optimizer):
    net, history = trained(float64.device, kind, OPTIMIZERS[optimizer], "auto")
    plain, expected = trained(nn.select_device("numpy"), kind, OPTIMIZERS[optimizer], "eager")
    assert history.engine == engine_of(float64.device, kind, optimizer)
    assert expected.engine == "eager"
    agree(net.state, plain.state, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-9)


def test_in_float32_it_does_so_to_its_rounding(backend):
    net, _ = trained(backend.device, "book", nn.SGD(0.5), "auto", "float32")
    plain, _ = trained(nn.select_device("numpy"), "book", nn.SGD(0.5), "eager", "float64")
    agree(net.params, plain.params, rtol=1e-4, atol=1e-5)


@pytest.mark.every_backend
def test_segments_rates_and_batches_take_effect(float64):
    """An epoch in three segments is the epoch in one; another order or another rate is another result."""
    net = network(float64.device)
    step, columns, order, rates = segment(net)
    whole, losses = net.device.training_engine().run(step, net.state, columns, order, rates, 0, 6)
    engine, state, parts = net.device.training_engine(), net.state, []
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        state, values = engine.run(step, state, columns, order, rates, start, stop)
        assert tuple(values.shape) == (stop - start,)
        parts.append(nn.to_numpy(values))
    agree(state, whole, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.concatenate(parts), nn.to_numpy(losses), rtol=1e-12)
    rows = nn.to_numpy(order).copy()
    rows[3] = (rows[3] + 1) % 23
    others = float64.device.asarray(rows, float64.device.integer_dtype), float64.device.asarray(nn.to_numpy(rates) * 2)
    for other in ((others[0], rates), (order, others[1])):
        changed, values = engine.run(step, net.state, columns, *other, 0, 6)
        assert np.abs(numbers(changed[0])[0] - numbers(whole[0])[0]).max() > 1e-4
        np.testing.assert_allclose(nn.to_numpy(values)[0], nn.to_numpy(losses)[0], rtol=1e-12)


@pytest.mark.parametrize("mode", ["auto", "eager"])
def test_the_callers_arrays_stay_as_they_are(backend, mode):
    net = network(backend.device, dtype="float32")
    step, columns, order, rates = segment(net, steps=3, optimizer=nn.Adam())
    with net.device.scope():
        state = net.state._replace(optimizer_state=nn.Adam().init(net.params))
    given = (state, columns, order, rates)
    before, engine = numbers(given), backend.device.training_engine(mode)
    first, losses = engine.run(step, *given, 0, 3)
    kept = numbers((first, losses))
    engine.run(step, first, *given[1:], 0, 3)
    for now, then in zip(numbers(given), before, strict=True):
        np.testing.assert_array_equal(now, then)
    for now, then in zip(numbers((first, losses)), kept, strict=True):  # no buffer is used again
        np.testing.assert_array_equal(now, then)


def test_what_is_compiled_is_compiled_once():
    need("jax")
    net = nn.Network([6, 7, 3], device="jax:cpu", seed=0)  # nobody else has compiled these shapes
    step, columns, order, rates = segment(net)
    engine = net.device.training_engine()
    engine.run(step, net.state, columns, order, rates, 0, 6)
    assert (first := engine.compile_seconds) > 0
    engine.run(step, net.state, columns, order, rates, 2, 5)
    assert engine.compile_seconds == first
    again = net.device.training_engine("compiled")
    again.run(step, net.state, columns, order, rates, 0, 6)
    assert (again.compile_seconds, again.name) == (0.0, "jax.lax.fori_loop")
    again.run(step, net.state, columns, order[:, :2], rates, 0, 6)
    assert again.compile_seconds > 0


def test_the_plain_loop_is_there_for_the_asking(backend):
    net = nn.Network([6, 3], device=backend.device, seed=0)
    history = net.fit(data(), epochs=1, batch_size=10, optimizer=nn.SGD(0.5), engine="eager")
    assert (history.engine, history.compile_seconds) == ("eager", 0.0)


@dataclass(frozen=True)
class Reading(Layer):
    """A layer that looks at a value, which nothing compiled can."""

    def forward(self, params, state, x, context):
        return (x if float(x[0, 0]) < 1e9 else -x), state, x


@pytest.mark.parametrize(("name", "mode"), [("jax", "auto"), ("jax", "compiled"), ("torch", "compiled")])
def test_steps_that_cannot_be_compiled_run_eagerly_and_say_why(name, mode, caplog):
    need(name)
    device = BACKENDS[name].device
    nets = [nn.Network([6, Reading(), 3], device=place, seed=0) for place in (device, "numpy")]
    arguments = {"epochs": 1, "batch_size": 10, "optimizer": nn.SGD(0.5)}
    if mode == "compiled":
        with pytest.raises(nn.EngineError, match=r"engine: 'compiled' was asked for, but \w+: .+; use engine='auto'"):
            nets[0].fit(data(), **arguments, engine=mode)
        assert nets[0].steps == 0
        return
    with caplog.at_level(logging.WARNING, "nn_any"):
        history = nets[0].fit(data(), **arguments, engine=mode)
    nets[1].fit(data(), **arguments, engine="eager")
    assert history.engine == "eager"
    assert "jax.lax.fori_loop cannot run these steps, they run eagerly: ConcretizationTypeError" in caplog.text
    agree(nets[0].params, nets[1].params, rtol=1e-4, atol=1e-5)
    assert nets[0].accuracy(data()) == nets[1].accuracy(data())
    assert "it runs eagerly: ConcretizationTypeError" in caplog.text


def test_a_wrong_step_is_told_by_its_own_error(backend):
    net = network(backend.device, dtype="float32")
    _, columns, order, rates = segment(net, steps=2)

    def wrong(state, batch, rate):
        raise ArithmeticError("this step is wrong")

    with pytest.raises(ArithmeticError, match="this step is wrong"):
        net.device.training_engine().run(wrong, net.state, columns, order, rates, 0, 2)


def test_a_library_without_one_has_no_compiled_engine():
    need("array_api_strict")
    net = nn.Network([6, 3], device="array_api_strict:cpu", seed=0)
    with pytest.raises(nn.EngineError, match="'compiled' was asked for, but array_api_strict has no compiled engine"):
        net.fit(data(), epochs=1, batch_size=10, optimizer=nn.SGD(0.5), engine="compiled")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "optimizer"), [("book", "sgd"), ("convolution", "adam")])
def test_pytorchs_compiled_step_equals_the_plain_one(kind, optimizer):
    need("torch")
    device = nn.select_device("torch:cpu")
    nets = [trained(device, kind, OPTIMIZERS[optimizer], mode) for mode in ("compiled", "eager", "compiled")]
    assert [history.engine for _, history in nets] == ["torch.compile", "eager", "torch.compile"]
    assert nets[0][1].compile_seconds > 0
    assert nets[2][1].compile_seconds == 0
    for net, history in nets:
        agree(net.state, nets[1][0].state, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(history["loss"], nets[1][1]["loss"], rtol=1e-9)


def test_without_a_compiler_pytorch_says_so(monkeypatch, caplog):
    need("torch")
    import torch._inductor

    def compile(*_):
        raise RuntimeError("No working C++ compiler found\nin many more words")

    monkeypatch.setattr(torch._inductor, "compile", compile)
    net = nn.Network([6, 4, 3], device="torch:cpu", seed=0)
    with pytest.raises(nn.EngineError, match="RuntimeError: No working C\\+\\+ compiler found; use engine='auto'"):
        net.fit(data(), epochs=1, batch_size=10, optimizer=nn.SGD(0.5), engine="compiled")
    from nn_any.backends._torch_engine import CompiledEngine
    from nn_any.backends.programs import ProgramCache

    step, columns, order, rates = segment(net)
    engine = CompiledEngine("auto", ProgramCache())
    with caplog.at_level(logging.WARNING, "nn_any"):
        after, losses = engine.run(step, net.state, columns, order, rates, 0, 6)
    assert [record.getMessage() for record in caplog.records if record.name == "nn_any"] == [
        "torch.compile cannot run these steps, they run eagerly: RuntimeError: No working C++ compiler found"
    ]
    assert engine.name == "eager"
    plain, expected = net.device.training_engine("eager").run(step, net.state, columns, order, rates, 0, 6)
    agree((after, losses), (plain, expected), rtol=0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "kind", [kind for kind in NETWORKS if kind != "convolution"]
)  # its inputs are images, not rows
def test_steps_in_static_buffers_equal_the_plain_loop(kind, optimizer):
    """What a CUDA graph captures, run without one."""
    need("torch")
    from nn_any.backends._torch_engine import StaticSteps

    net, optimizer = network("torch:cpu", kind), OPTIMIZERS[optimizer]
    step, columns, order, rates = segment(net, optimizer=optimizer)
    state = net.state._replace(optimizer_state=optimizer.init(net.params))
    static = StaticSteps(step, tree_map(lambda leaf: leaf * 0, state), columns, order * 0, rates * 0)
    buffers = [leaf.data_ptr() for leaf in tree_leaves(static.state)]
    before = numbers(state)
    for start, *launches in ((0, 1, 1, 1, 1, 1, 1), (2, 1, 1, 1), (0, 6), (1, 3, 1)):
        static.load(state, order, rates, start)
        for steps in launches:
            static.advance(steps)
        stop = start + sum(launches)
        plain = net.device.training_engine("eager").run(step, state, columns, order, rates, start, stop)
        agree(static.results(start, stop), plain, rtol=1e-12)
    assert [leaf.data_ptr() for leaf in tree_leaves(static.state)] == buffers
    for now, then in zip(numbers(state), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_static_buffers_are_read_before_they_are_written():
    """A step whose results are its own arguments, in each other's places."""
    need("torch")
    import torch

    from nn_any.backends._torch_engine import StaticSteps

    def swap(state, batch, rate):
        a, b = state
        return (b, a), rate * 1

    state = (torch.zeros(2), torch.ones(2))
    order, rates = torch.zeros((3, 1), dtype=torch.int64), torch.ones(3)
    static = StaticSteps(swap, state, (torch.zeros(1, 1),), order, rates)
    for _ in range(3):
        static.advance()
    assert [leaf.tolist() for leaf in static.results(0, 3)[0]] == [[1.0, 1.0], [0.0, 0.0]]


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["auto", "compiled"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_cuda_graphs_equal_the_plain_loop(kind, optimizer, mode):
    need("torch")
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs PyTorch and a CUDA GPU: PyTorch finds none")
    device = nn.select_device("torch:cuda")
    net, history = trained(device, kind, OPTIMIZERS[optimizer], mode)
    plain, expected = trained(device, kind, OPTIMIZERS[optimizer], "eager")
    assert history.engine == "torch.cuda.graph"
    assert history.compile_seconds > 0
    agree(net.state, plain.state, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-9)


@pytest.mark.slow
def test_on_jaxs_second_device():
    """What is not bound to a device, such as a step's number, follows the data to theirs."""
    need("jax")
    code = """
import nn_any as nn
net = nn.Network([2, 3, 1], device="jax:cpu:1", seed=0)
data = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
history = net.fit(data, epochs=2, batch_size=3, optimizer=nn.Adam(), engine="compiled")
print(history.engine, {str(nn.Device.of(w)) for w in net.weights})
"""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "jax.lax.fori_loop {'jax:cpu:1'}\n", done.stderr
