"""Your own data, from arrays: two moons that no straight line parts, and a picture of the line that does."""

from pathlib import Path

import numpy as np
from sklearn.datasets import make_moons

import nn_any as nn

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    raise SystemExit("own_data.py draws with matplotlib: python -m pip install matplotlib") from None

PICTURE = Path("own_data.png")


def main():
    x, y = make_moons(600, noise=0.15, random_state=0)  # (600, 2) real numbers, (600,) labels 0 and 1
    data = nn.Dataset(x, y)
    training, test = data.split(0.75, seed=0)

    net = nn.Network([2, 16, 16, nn.Dense(2, activation="sigmoid")], activation="tanh", loss="cross_entropy",
                     initializer="scaled_normal", seed=0)  # fmt: skip
    net.fit(training, epochs=150, batch_size=10, optimizer=nn.SGD(0.2))
    print(f"{net.accuracy(test):.1%} of {len(test)} test points are right, on {net.device}")
    draw(net, x, y)
    print(f"the picture is in {PICTURE}")


def draw(net, x, y):
    side = np.linspace(-1.8, 2.8, 200)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    share = nn.to_numpy(net.predict_proba(grid))[:, 1].reshape(200, 200)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.contourf(side, side, share, levels=20, cmap="RdBu", alpha=0.6)
    axes.contour(side, side, share, levels=[0.5], colors="black", linewidths=1)
    axes.scatter(x[:, 0], x[:, 1], c=y, cmap="RdBu", edgecolors="white", linewidths=0.5, s=20)
    axes.set(title="Two moons, and where the network parts them", xlabel="x₁", ylabel="x₂", ylim=(-1.4, 1.9))
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    main()
