"""``nn-any export``: files that others read."""

import numpy as np
import pytest
from cli_tools import call

import nn_any as nn


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_onnx(capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = nn.Network([4, 5, 3], device="numpy", seed=0)
    net.schema = nn.Schema(class_names=("a", "b", "c"))
    net.save("model.safetensors")
    out, _ = call(capsys, "export", ".", "--onnx", "net.onnx")
    assert out.splitlines() == [
        "saved          net.onnx",
        "inputs         (n, 4), float32",
        "outputs        (n, 3), float32",
        "classes        a, b, c",
    ]
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    session = onnxruntime.InferenceSession("net.onnx")
    (outputs,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(outputs, net.feedforward(x), atol=1e-5)


def test_a_file_is_not_overwritten_unasked(capsys):
    pytest.importorskip("onnx")
    nn.Network([4, 3], device="numpy", seed=0).save("model.safetensors")
    with open("net.onnx", "w") as file:
        file.write("mine")
    _, err = call(capsys, "export", "model.safetensors", "--onnx", "net.onnx", code=2)
    assert "usage: onnx: net.onnx is there already; choose another file, or add --overwrite" in err
    with open("net.onnx") as file:
        assert file.read() == "mine"
    call(capsys, "export", "model.safetensors", "--onnx", "net.onnx", "--overwrite")
    assert call(capsys, "export", "model.safetensors", code=2)
