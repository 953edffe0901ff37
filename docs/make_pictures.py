"""Draws ``docs/images/train.svg``: what ``nn-any train --epochs 10`` shows, recorded by rich. Run it from the root."""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = "nn-any train --epochs 10"


def main():
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
    console.save_svg(str(Path(__file__).parent / "images" / "train.svg"), title="nn_any")


if __name__ == "__main__":
    main()
