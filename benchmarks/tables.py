"""How well ``nn-any train --data FILE`` and no more learns scikit-learn's tables: ``python -m benchmarks.tables``.

Each table is split ten times; the peer trains on standardised columns of the same splits.
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.linear_model import Ridge
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nn_any as nn
from nn_any.cli.app import main

CLASSES = ("iris", "wine", "breast_cancer", "digits")
NUMBERS = ("diabetes", "linnerud")
SPLITS = 10


def compare(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The accuracies, or for numbers the R², of this library and of scikit-learn on the test part of each split."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    kind = StratifiedShuffleSplit if name in CLASSES else ShuffleSplit
    ours, peers = [], []
    for i, (train, test) in enumerate(kind(SPLITS, test_size=0.2, random_state=0).split(x, y)):
        parts = x[train], y[train], x[test], y[test]
        ours.append(_score(*parts, seed=i))
        peer = MLPClassifier(max_iter=1000, random_state=i) if name in CLASSES else Ridge()
        peers.append(make_pipeline(StandardScaler(), peer).fit(*parts[:2]).score(*parts[2:]))
    return np.array(ours), np.array(peers)


def _score(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int) -> float:
    """Train by the command line, load the model that it saved, and give it the raw test data."""
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "table.npz", Path(folder) / "out"
        np.savez(data, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
        arguments = ["train", "--data", str(data), "--seed", str(seed), "--output", str(output), "--json", "--quiet"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*arguments, "--device", "numpy"])
        found = json.loads(printed.getvalue())
        net = nn.Network.load(output / "model.safetensors", device="numpy")
    if not net.is_regression:
        right = float(np.mean(net.predict(x_test) == y_test))
        assert abs(right - found["test_accuracy"]) < 1e-9
        return right
    answers = np.asarray(net.predict(x_test), "float64").reshape(len(y_test), -1)
    targets = y_test.reshape(answers.shape)
    residual, spread = ((targets - a) ** 2 for a in (answers, targets.mean(axis=0)))
    return float(np.mean(1 - residual.sum(axis=0) / spread.sum(axis=0)))


if __name__ == "__main__":
    print(f"| table | measure | nn-any train, mean of {SPLITS} splits | peer |\n|---|---|---|---|")
    for each in (*CLASSES, *NUMBERS):
        mine, theirs = compare(each)
        measure, peer = ("accuracy", "MLPClassifier") if each in CLASSES else ("R²", "Ridge")
        print(f"| {each} | {measure} | {mine.mean():.3f} | {peer} {theirs.mean():.3f} |", flush=True)
