"""``nn-any info``: what a model file holds."""

from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.text import Text

import nn_any as nn
from nn_any.cli import options
from nn_any.cli.console import counted, output_width, print_text, render, spelled, to_json
from nn_any.cli.models import class_names, find_model, open_model
from nn_any.core.summary import parameter_count, shape_text
from nn_any.files import load_model

_MOST_NAMES = 12


def info(model: Path, /, *, as_json: options.JsonOption = False) -> int:
    """Show what a model is: its layers, what it predicts from what, and how it was trained.

    Parameters
    ----------
    model
        A model file, the folder of a run with its model.safetensors, or a checkpoint.
    """
    path = find_model(model)
    net = open_model(path, "cpu")
    results = _results(path, net)
    print_text(to_json(results) if as_json else _report(results, net), "the results could not be printed")
    return 0


def _results(path: Path, net: nn.Network | nn.Ensemble) -> dict[str, Any]:
    """What there is to know of the model."""
    first = net[0] if isinstance(net, nn.Ensemble) else net
    specification, schema = net.specification, net.schema
    about = load_model(path)[0]
    layers = [
        {
            "layer": type(layer).__name__,
            "activation": layer.activation.name,
            "output": list(shape),
            "parameters": parameter_count(parameters),
            "trainable": layer.trainable,
        }
        for layer, shape, parameters in zip(net.layers, specification.shapes[1:], first.params, strict=True)
    ]
    results: dict[str, Any] = {"model": str(path), "kind": "network", "task": net.task}
    if isinstance(net, nn.Ensemble):
        results |= {"kind": "ensemble", "members": len(net), "seeds": net.seeds, "diverged": net.diverged}
        results |= {"learning_rates": net.learning_rates, "weight_decays": net.weight_decays}
    results |= {"input_shape": list(net.input_shape), "outputs": net.outputs, "layers": layers}
    results |= {"parameters": sum(layer["parameters"] for layer in layers), "loss": specification.loss.name}
    results |= {"dtype": net.dtype, "seed": net.seed, "epochs": net.epoch, "steps": net.steps}
    results |= {"standardized": options.standardized(net.layers), "scale": schema.scale}
    results |= {"classes": class_names(net) if net.task == "classification" else None}
    results |= {"features": schema.feature_names, "targets": schema.target_names}
    run = about.get("training")
    results["checkpoint"] = None if not isinstance(run, dict) else _checkpoint(run)
    return results


def _checkpoint(run: dict[str, Any]) -> dict[str, Any]:
    """Where the run of a checkpoint stands."""
    settings = run.get("settings", {})
    return {"epochs": len(run.get("history", ())), "finished": bool(run.get("stop")), "settings": settings}


def _report(results: dict[str, Any], net: nn.Network | nn.Ensemble) -> str:
    """The results in words, and the layers in a table."""
    several = results["kind"] == "ensemble"
    kind = f"ensemble of {counted(results['members'], 'network')}" if several else "network"
    fields = [("model", results["model"]), ("kind", f"{kind}, {results['dtype']}, loss {results['loss']}")]
    fields.append(("task", _task(results)))
    if results["classes"] is not None:
        fields.append(("classes", _listed(results["classes"])))
    if results["features"]:
        fields.append(("inputs", _listed(results["features"])))
    else:
        fields.append(("inputs", f"{shape_text(net.input_shape)} numbers without names"))
    if results["scale"]:
        fields.append(("", f"whole numbers are divided by {results['scale']:g}"))
    if results["standardized"]:
        fields.append(("standardised", f"{' and '.join(results['standardized'])}: it takes and gives raw numbers"))
    course = f"{counted(results['epochs'], 'epoch')}, {counted(results['steps'], 'step')}, seed {results['seed']}"
    fields.append(("trained", course + (" and those after it" if several else "")))
    if run := results["checkpoint"]:
        optimizer = run["settings"].get("optimizer", "")
        fields.append(("checkpoint", f"of a run of {counted(run['epochs'], 'epoch')} so far, {optimizer}"))
    lines: list[str | Text] = []
    for name, text in fields:
        first, *others = wrap(spelled(text), max(40, output_width() - 15), break_long_words=False) or [""]
        lines += [Text.assemble((f"{name:15}", "bold"), first), *(f"{'':15}{other}" for other in others)]
    return render([*lines, "", *spelled(net.summary()).splitlines()])


def _task(results: dict[str, Any]) -> str:
    """What the model is for."""
    names = results["targets"] or ()
    of = f" of {_listed(names)}" if names else ""
    if results["task"] == "classification":
        return f"classification{of} into {len(results['classes'])} classes"
    outputs = counted(results["outputs"], "output")
    return f"{results['task']}{of}, {outputs}"


def _listed(names: Any) -> str:
    """The first so many names."""
    shown = ", ".join(map(str, list(names)[:_MOST_NAMES]))
    return shown + (f", … ({len(names)})" if len(names) > _MOST_NAMES else "")
