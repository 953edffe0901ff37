"""``nn-any export``: a trained model as a file that others read."""

from pathlib import Path

from nn_any.cli import options
from nn_any.cli.console import print_text, render
from nn_any.cli.models import class_names, find_model, open_model


def export(model: Path, /, *, onnx: Path, overwrite: options.Flag = False) -> int:
    """Write a trained model as a file that others read.

    Parameters
    ----------
    model
        A model file, or the folder of a run with its model.safetensors.
    onnx
        The ONNX file to write, which onnxruntime runs; an ensemble becomes the mean of its members.
    overwrite
        Replace the file if it is there.
    """
    if onnx.exists() and not overwrite:
        raise options.UsageError(f"onnx: {onnx} is there already; choose another file, or add --overwrite")
    net = open_model(find_model(model), "cpu")
    net.to_onnx(onnx)
    shape = ", ".join(map(str, net.input_shape))
    scale = net.schema.scale
    stored = f", whole numbers, which it divides by {scale:g} itself" if scale else ""
    fields = [("saved", str(onnx)), ("inputs", f"(n, {shape}), {net.dtype}{stored}")]
    fields.append(("outputs", f"(n, {net.outputs}), {net.dtype}"))
    if net.task == "classification":
        fields.append(("classes", ", ".join(map(str, class_names(net)[:20]))))
    print_text(render([f"{name:15}{text}" for name, text in fields]), "the results could not be printed")
    return 0
