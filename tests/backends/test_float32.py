"""float32 products are in float32, whatever the libraries take for them by themselves, unless less was asked for."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import need

import nn_any as nn
from nn_any.backends.programs import ProgramCache
from nn_any.core.errors import InvalidValueError

MATHS = ("float32", "tf32", "bfloat16")


@pytest.fixture
def torch():
    """PyTorch, with its switches put back after the test."""
    library = need("torch")
    from nn_any.backends import _torch_scope

    yield library
    library.set_float32_matmul_precision("highest")
    library.backends.fp32_precision = "none"
    for switch in [*_torch_scope._CUDAS, *_torch_scope._CPUS]:
        switch.fp32_precision = "none"
    library.backends.cudnn.allow_tf32 = True  # its default


def switches(torch):
    """What each switch of float32 products says; those of before 2.9 raise an error if they contradict a newer one."""
    backends, found = torch.backends, []
    for read in (
        lambda: backends.cuda.matmul.fp32_precision,
        lambda: backends.cudnn.conv.fp32_precision,
        lambda: backends.mkldnn.matmul.fp32_precision,
        lambda: backends.mkldnn.conv.fp32_precision,
        lambda: backends.cudnn.rnn.fp32_precision,
        lambda: backends.fp32_precision,
        torch.get_float32_matmul_precision,
        lambda: backends.cuda.matmul.allow_tf32,
    ):
        try:
            found.append(read())
        except RuntimeError:
            found.append("contradiction")
    return found


def scope(device):
    from nn_any.backends._torch_scope import PlainTorch

    return PlainTorch(device)


def by_the_older(torch):
    torch.set_float32_matmul_precision("medium")


def by_the_newer(torch):
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"


def for_all(torch):
    torch.backends.fp32_precision = "tf32"


def by_both(torch):
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.matmul.fp32_precision = "ieee"


SETTINGS = {
    "default": lambda torch: None,
    "older": by_the_older,
    "newer": by_the_newer,
    "all": for_all,
    "both": by_both,
}


@pytest.mark.parametrize("math", MATHS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_pytorchs_switches_on_cuda(torch, setting, math, monkeypatch):
    """In the scope they say what was asked for, the older as well as the newer; afterwards, what they said before."""
    monkeypatch.setenv("NN_ANY_CUDA_MATH", math)
    SETTINGS[setting](torch)
    before = switches(torch)
    with scope("cuda:0"):
        matmul, conv, cpu_matmul, *_, whole, allowed = switches(torch)
        expected = ("none", "ieee") if math == "float32" else ("tf32",)
        assert matmul in expected
        assert conv in expected
        assert cpu_matmul in ("none", "ieee", before[2])
        assert (whole == "highest") == (math == "float32") or whole == before[-2]
        assert allowed in (math != "float32", before[-1])
    assert switches(torch) == before


@pytest.mark.parametrize("setting", SETTINGS)
def test_pytorchs_switches_on_the_cpu(torch, setting, monkeypatch):
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "tf32")  # says nothing of a CPU
    SETTINGS[setting](torch)
    before = switches(torch)
    with scope("cpu"):
        assert {*switches(torch)[2:4]} <= {"none", "ieee"}
    assert switches(torch) == before


def test_a_switch_still_follows_the_one_above_it(torch):
    torch.backends.fp32_precision = "tf32"
    with scope("cpu"):
        pass
    torch.backends.fp32_precision = "none"
    assert torch.backends.mkldnn.conv.fp32_precision == "none"


def test_scopes_within_each_other(torch):
    torch.set_float32_matmul_precision("medium")
    before = switches(torch)
    with scope("cpu"):
        with scope("cuda:0"), scope("cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert switches(torch) == before


def test_scopes_on_several_threads(torch):
    """The switches are the process's: the first thread to leave must not set them for those that still work."""
    torch.set_float32_matmul_precision("medium")
    before, entered, left = switches(torch), threading.Event(), threading.Event()

    def first():
        with scope("cuda:0"):
            assert entered.wait(60)
        left.set()

    def second():
        with scope("cuda:0"):
            entered.set()
            assert left.wait(60)
            return switches(torch)[:3]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(first), pool.submit(second)
        one.result()
        assert {*other.result()} <= {"none", "ieee"}
    assert switches(torch) == before


def test_an_error_in_the_scope(torch):
    before = switches(torch)
    with pytest.raises(ZeroDivisionError), scope("cuda:0"):
        1 / 0  # noqa: B018
    assert switches(torch) == before


def test_pytorch_before_its_newer_switches(torch, monkeypatch):
    """Of which it has only the older ones."""
    from nn_any.backends import _torch_scope

    monkeypatch.setattr(_torch_scope, "_CUDAS", [_torch_scope._Products(), _torch_scope._Convolutions()])
    monkeypatch.setattr(_torch_scope, "_CPUS", [])
    torch.set_float32_matmul_precision("medium")
    with scope("cuda:0"):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.backends.cudnn.allow_tf32


def test_a_run_on_pytorch_sets_them(torch):
    """What a step sees, and what is there after the run."""
    seen = []

    class Probe(nn.activations.Activation):
        def __call__(self, z, *, xp):
            seen.append(torch.backends.mkldnn.matmul.fp32_precision)
            return z

        def derivative(self, z, a, *, xp):
            return xp.ones_like(z)

    torch.set_float32_matmul_precision("medium")
    net = nn.Network([4, nn.Dense(3, activation=Probe())], device="torch:cpu", seed=0)
    seen.clear()  # its shapes were tried on NumPy
    data = np.eye(4, dtype="float32"), np.arange(4) % 3
    net.SGD(data, 1, 2, 0.1, engine="eager")
    net.feedforward(data[0])
    assert seen
    assert {*seen} == {"ieee"}
    assert torch.get_float32_matmul_precision() == "medium"


def jax_engine(device, piece=1, mode="compiled"):
    from nn_any.backends._jax import JaxEngine

    return JaxEngine(mode, ProgramCache(None), device, piece)


def precisions(jax, device, *, conv=False):
    """The precision of a product in a function that the engine for a device compiles."""
    jnp = jax.numpy
    ones = jnp.ones((1, 4, 4, 1))
    function = (
        (lambda: jax.lax.conv(ones, ones, (1, 1), "SAME")) if conv else (lambda: ones[0, ..., 0] @ ones[0, ..., 0])
    )
    with jax_engine(device).scope():
        (found,) = [
            equation.params["precision"]
            for equation in jax.make_jaxpr(function)().eqns
            if equation.primitive.name in ("dot_general", "conv_general_dilated")
        ]
    return None if found is None else {str(one) for one in found}


@pytest.mark.parametrize("conv", [False, True], ids=["product", "convolution"])
@pytest.mark.parametrize(
    ("device", "math", "expected"),
    [
        ("cpu", None, None),
        ("cpu", "tf32", None),
        ("cuda:0", None, {"HIGHEST"}),
        ("cuda:1", "float32", {"HIGHEST"}),
        ("cuda:0", "tf32", {"HIGH"}),
        ("cuda:0", "bfloat16", {"DEFAULT"}),
        ("tpu:0", None, {"HIGHEST"}),
        ("tpu:0", "tf32", {"HIGHEST"}),
    ],
)
def test_jaxs_products(device, math, expected, conv, monkeypatch):
    jax = need("jax")
    monkeypatch.delenv("NN_ANY_CUDA_MATH", raising=False)
    if math:
        monkeypatch.setenv("NN_ANY_CUDA_MATH", math)
    assert precisions(jax, device, conv=conv) == expected
    assert jax.config.jax_default_matmul_precision is None


def test_what_the_user_told_jax_stands(monkeypatch):
    jax = need("jax")
    monkeypatch.delenv("NN_ANY_CUDA_MATH", raising=False)
    with jax.default_matmul_precision("tensorfloat32"):
        assert precisions(jax, "cuda:0") == {"HIGH"}
        monkeypatch.setenv("NN_ANY_CUDA_MATH", "float32")
        assert precisions(jax, "cuda:0") == {"HIGHEST"}


def compiled(engine, net, steps=6, start=0):
    """The losses of some steps, run by a JAX engine that believes that the CPU is another device."""
    from nn_any.core import functional
    from nn_any.core.batches import Preparation

    device, rng = net.device, np.random.default_rng(0)
    step = functional.train_step(net.layers, net.specification.loss, nn.SGD(1.0), Preparation(net.dtype, 3, None, True))
    columns = (
        device.asarray(rng.normal(size=(12, 4)), net.dtype),
        device.asarray(rng.integers(0, 3, 12), device.integer_dtype),
    )
    order = device.asarray(rng.integers(0, 12, (6, 4)), device.integer_dtype)
    return engine.run(step, net.state, columns, order, device.asarray(np.full(6, 0.1), net.dtype), start, steps)[1]


def test_each_precision_has_a_program_of_its_own(monkeypatch):
    need("jax")
    net = nn.Network([4, 5, 3], device="jax:cpu", seed=0)
    engine = jax_engine("cuda:0")
    for math in MATHS * 2:
        monkeypatch.setenv("NN_ANY_CUDA_MATH", math)
        compiled(engine, net)
    assert len(engine.programs) == 3
    texts = [program.as_text() for program in engine.programs.values()]
    assert len({*texts}) == len(texts)


def test_an_arithmetic_that_there_is_not(monkeypatch, torch):
    monkeypatch.setenv("NN_ANY_CUDA_MATH", "float8")
    with pytest.raises(InvalidValueError, match="NN_ANY_CUDA_MATH: expected one of float32"):
        scope("cuda:0")
    before = switches(torch)
    with scope("cpu"):
        assert switches(torch)[2] in ("none", "ieee")
    assert switches(torch) == before
