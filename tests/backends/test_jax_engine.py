"""JAX's loop in pieces of a known length, as accelerators have it, here on the CPU."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import need
from test_engines import NETWORKS, OPTIMIZERS, agree, network, segment

import nn_any as nn
from nn_any.backends.programs import ProgramCache
from nn_any.core.trees import tree_leaves


def engine(piece, device="cpu"):
    need("jax")
    from nn_any.backends._jax import JaxEngine

    return JaxEngine("compiled", ProgramCache(None), device, piece)


def trip_counts(program):
    """The numbers of turns that XLA knows, of the loops of a compiled program."""
    return [int(count) for count in re.findall(r'known_trip_count":\{"n":"(\d+)"', program.as_text())]


def test_xla_knows_how_long_a_piece_is():
    """And it does not know how many steps the loop of a CPU takes."""
    need("jax")
    net = network("jax:cpu", "book", "float32")
    step, *rest = segment(net, steps=12)
    whole, pieces = engine(1), engine(5)
    for each in (whole, pieces):
        each.run(step, net.state, *rest, 0, 10)
    assert [trip_counts(program) for program in whole.programs.values()] == [[]]
    assert [trip_counts(program) for program in pieces.programs.values()] == [[5]]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind != "convolution"])
def test_pieces_equal_the_plain_loop(kind, optimizer):
    """Whole pieces only, with steps that remain, fewer steps than a piece has, and from the middle of an epoch."""
    jax = need("jax")
    with jax.enable_x64(True):
        net, optimizer = network("jax:cpu", kind), OPTIMIZERS[optimizer]
        step, *rest = segment(net, steps=11, optimizer=optimizer)
        state = net.state._replace(optimizer_state=optimizer.init(net.params))
        pieces, plain = engine(4), net.device.training_engine("eager")
        for start, stop in ((0, 8), (0, 11), (2, 5), (3, 10), (10, 11)):
            got = pieces.run(step, state, *rest, start, stop)
            agree(got, plain.run(step, state, *rest, start, stop), rtol=1e-9, atol=1e-12)
            assert got[1].shape == (stop - start,)


def test_two_programs_take_any_segment():
    need("jax")
    net = network("jax:cpu", "book", "float32")
    step, *rest = segment(net, steps=30)
    pieces, state = engine(4), net.state
    for start, stop in ((0, 8), (8, 9), (9, 14), (14, 29), (29, 30), (0, 30)):
        state, _ = pieces.run(step, state, *rest, start, stop)
    assert len(pieces.programs) == 2


@pytest.mark.parametrize("members", [None, 3])
def test_runs_in_pieces(members, monkeypatch):
    """Two epochs of ten batches each, the last one short."""
    need("jax")
    from nn_any.backends.libraries import get_backend

    data, found = (np.random.default_rng(0).normal(size=(39, 6)), np.arange(39) % 3), []
    for piece in (1, 4):
        used = engine(piece)
        monkeypatch.setattr(get_backend("jax"), "engine", lambda *_, used=used: used)
        of = {"device": "jax:cpu", "seed": 0}
        model = nn.Ensemble([6, 5, 3], members, **of) if members else nn.Network([6, 5, 3], **of)
        history = model.fit(data, epochs=2, batch_size=4, optimizer=nn.Adam(0.01))
        assert history.engine == "jax.lax.fori_loop"
        found.append((model.params, [history["loss"]]))
    for one, other in zip(
        *[[*map(nn.to_numpy, tree_leaves(params)), *losses] for params, losses in found], strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_which_devices_take_pieces():
    need("jax")
    from nn_any.backends._jax import _PIECE
    from nn_any.backends.libraries import get_backend

    backend = get_backend("jax")
    assert [backend.engine(name)._piece for name in ("cpu", "cpu:1", "cuda:0", "tpu:0")] == [1, 1, _PIECE, _PIECE]


SPY = """
def initialize():
    from jaxlib import xla_client
    options = xla_client.generate_pjrt_gpu_plugin_options()
    print(options.get("preallocate"), options.get("memory_fraction"), options["allocator"])
"""
FIRST = "import nn_any as nn; nn.select_device('jax:cpu'); "
LATER = "import jax; jax.devices(); "
ENVIRONMENT = "import os; print(os.environ.get('XLA_PYTHON_CLIENT_PREALLOCATE'))"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "given", "expected"),
    [
        (FIRST, {}, "False None default\nNone\n"),
        (FIRST, {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}, "True None default\ntrue\n"),
        (FIRST, {"XLA_CLIENT_MEM_FRACTION": "0.5"}, "None 0.5 default\nNone\n"),
        (FIRST, {"XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}, "None None platform\nNone\n"),
        (LATER + FIRST, {}, "None None default\nNone\n"),
    ],
    ids=["nothing said", "preallocation", "a fraction", "an allocator", "JAX has started before"],
)
def test_jax_takes_memory_on_a_gpu_as_it_needs_it(code, given, expected, tmp_path):
    """What a plugin for CUDA finds when JAX starts it, and what the environment says afterwards."""
    need("jax")
    (tmp_path / "jax_plugins" / "spy").mkdir(parents=True)
    (tmp_path / "jax_plugins" / "spy" / "__init__.py").write_text(SPY)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XLA")}
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", code + ENVIRONMENT]
    done = subprocess.run(
        command, env={**kept, **given, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == expected, done.stderr
