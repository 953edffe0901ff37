"""What a run leads to, written down: arrays and texts by name, without anything that measures time."""

import json
import re
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

import nn_any as nn

Results = dict[str, np.ndarray | str]


class Recording:
    """Collects results by name.

    Parameters
    ----------
    folder : Path
        Where files may be written; it is taken out of texts.
    brief : bool
        Leave out what a network can be asked beside its weights and outputs.

    Attributes
    ----------
    results : dict
        Arrays on the host, and texts.
    """

    def __init__(self, folder: Path, brief: bool = False) -> None:
        self.folder, self.brief = folder, brief
        self.results: Results = {}

    def put(self, name, value):
        """Write down an array of any library, a number, a text, or a list, tuple or dictionary of such."""
        assert name not in self.results, name
        if isinstance(value, str):
            self.results[name] = value.replace(str(self.folder), "FOLDER")
        elif isinstance(value, dict):
            for key, one in value.items():
                self.put(f"{name}.{key}", one)
        elif isinstance(value, list | tuple):
            for i, one in enumerate(value):
                self.put(f"{name}.{i}", one)
            self.results[f"{name}.length"] = np.asarray(len(value))
        else:
            self.results[name] = np.array(value if np.isscalar(value) else nn.to_numpy(value))

    def history(self, name, history):
        """All columns but the seconds, and what ran the steps."""
        self.put(f"{name}.engine", history.engine)
        for column, values in history.to_dict().items():
            if column != "seconds":
                self.put(f"{name}.{column}", np.asarray(values))

    def file(self, name, path):
        """The tensors of a model file or a checkpoint, and its description without times and what follows from them."""
        for tensor, array in load_file(path).items():
            self.put(f"{name}.{tensor}", array)
        with safe_open(path, framework="numpy") as opened:
            texts = opened.metadata()
        for key, text in texts.items():
            description = json.loads(text)
            if "training" in description:
                description.pop("sha256")  # it covers the times
            self.put(f"{name}.{key}", json.dumps(_timeless(description), sort_keys=True))

    def state(self, name, net):
        """Where a network, or an ensemble, stands: its weights, and the file that it is saved in."""
        self.put(f"{name}.place", [net.seed, net.epoch, net.steps])
        self.put(f"{name}.weights", net.weights)
        self.put(f"{name}.biases", net.biases)
        path = self.folder / f"{name}.safetensors"
        net.save(path)
        self.file(f"{name}.file", path)

    def network(self, name, net, x, y):
        """All that a network, or an ensemble, can be asked about inputs and their labels or targets."""
        self.state(name, net)
        self.put(f"{name}.feedforward", net.feedforward(x))
        if self.brief:
            return
        self.put(f"{name}.feedforward_one", net.feedforward(x[0]))
        self.put(f"{name}.predict", net.predict(x))
        self.put(f"{name}.loss", net.loss((x, y)))
        if not net.is_regression:
            self.put(f"{name}.evaluate", net.evaluate((x, y)))
            self.put(f"{name}.accuracy", net.accuracy((x, y)))
        self.put(f"{name}.gradients", net.gradients(x[:8], y[:8]))
        self.put(f"{name}.backprop", net.backprop(x[:8], y[:8], training=True))
        if isinstance(net, nn.Ensemble):
            self.members(name, net, x, y)
        loaded = type(net).load(self.folder / f"{name}.safetensors", device=net.device)
        self.put(f"{name}.loaded", loaded.feedforward(x))

    def members(self, name, ensemble, x, y):
        """What an ensemble alone can be asked."""
        self.put(f"{name}.diverged", ensemble.diverged)
        self.put(f"{name}.epochs", np.asarray(ensemble.epochs))
        self.put(f"{name}.member_outputs", ensemble.member_outputs(x))
        self.put(f"{name}.spread", tuple(ensemble.spread(x)))
        self.put(f"{name}.losses", ensemble.losses((x, y)))
        if not ensemble.is_regression:
            self.put(f"{name}.accuracies", ensemble.accuracies((x, y)))
        self.put(f"{name}.best", ensemble.best((x, y)))

    def printed(self, name, text):
        """Printed lines, once what they say of seconds is taken out."""
        self.put(name, re.sub(r"\d+\.\d+ s\b", "SECONDS", text))


def _timeless(value):
    """Parsed JSON without the keys that tell times; `stale` is a note that a rewritten class need not keep."""
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in ("seconds", "stale")}
    return [_timeless(one) for one in value] if isinstance(value, list) else value
