"""Draws the pictures in ``docs/images``: what ``nn-any train --epochs 10`` shows, and the one that a sweep leaves.

Run it from the root.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = "nn-any train --epochs 10"
SWEEP = "nn-any sweep --learning-rates 0.1,0.3,1,3,10,30 --weight-decays 0,1e-4,1e-3 --seeds 3"
IMAGES = Path(__file__).parent / "images"


def main():
    draw_train()
    draw_sweep()


def draw_sweep():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", *SWEEP.replace("nn-any", "nn_any").split(), "--output", folder, "--quiet"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        shutil.copy(Path(folder) / "sweep.png", IMAGES)


def draw_train():
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", *COMMAND.replace("nn-any", "nn_any").split(), "--output", "runs/digits"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=True,
        )
    console = Console(record=True, width=84, file=io.StringIO())
    console.print(Text(f"$ {COMMAND}", "bold"))
    for line in done.stdout.splitlines():
        text = Text(line.rstrip())
        text.highlight_regex(r"\d+\.\d\d %", "green")
        text.highlight_regex(r"^(test accuracy|best epoch|time|device|saved)\b", "bold")
        console.print(text)
    console.save_svg(str(IMAGES / "train.svg"), title="nn_any")


if __name__ == "__main__":
    main()
