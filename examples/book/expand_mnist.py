"""Five images for one: each training image, and the four that it becomes when it moves by a pixel."""

from pathlib import Path

import cyclopts
import numpy as np

import nn_any as nn
from examples.book.common import QUICK_EXAMPLES, Flag, load

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    raise SystemExit("expand_mnist.py draws with matplotlib: python -m pip install matplotlib") from None

PICTURE = Path("expand_mnist.png")
TITLES = ("as it was", "right", "left", "down", "up")


def draw(training: nn.Dataset, expanded: nn.Dataset, count: int = 6) -> None:
    """Save a picture: a row for each of the first images, and a column for each way to move it."""
    n = len(training)
    rows = [i + n * move for i in range(count) for move in range(len(TITLES))]
    images = nn.to_numpy(expanded.take(rows).x).reshape(len(rows), 28, 28)
    figure = Figure(figsize=(5, 1.1 * count), layout="constrained")
    for place, (axes, image) in enumerate(zip(figure.subplots(count, len(TITLES)).flat, images, strict=True)):
        axes.imshow(image, cmap="gray_r")
        axes.set(xticks=np.arange(0, 28, 4), yticks=np.arange(0, 28, 4))
        axes.tick_params(length=0, labelbottom=False, labelleft=False)
        axes.grid(alpha=0.3)
        if place < len(TITLES):
            axes.set_title(TITLES[place], fontsize=9)
    figure.savefig(PICTURE, dpi=120)


def main(*, device: str | None = None, quick: Flag = False) -> None:
    """Expand the training images on a device, and draw some."""
    training, _, _ = load(device, QUICK_EXAMPLES if quick else None)
    expanded = nn.datasets.expand_mnist(training)
    draw(training, expanded)
    print(f"{len(training):,} images became {len(expanded):,}, on {expanded.device}; the picture is in {PICTURE}")


if __name__ == "__main__":
    cyclopts.run(main)
