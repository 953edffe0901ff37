"""What the experiments share: MNIST, whole or a few images of it, and the table of results."""

from typing import Annotated, NamedTuple

from cyclopts import Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import nn_any as nn

Parts = tuple[nn.Dataset, nn.Dataset, nn.Dataset]
Flag = Annotated[bool, Parameter(negative=())]

QUICK_EXAMPLES = 100
QUICK_EPOCHS = 1


def load(device: str | None = None, examples: int | None = None) -> Parts:
    """Training, validation and test images; at most `examples` of each."""
    parts = nn.datasets.load_mnist(device=device)
    if examples is None:
        return parts
    training, validation, test = (part.take(range(min(examples, len(part)))) for part in parts)
    return training, validation, test


class Row(NamedTuple):
    """One line of the table: shares of 0 … 1, and None for what there is not."""

    name: str
    seed: int | None
    epochs: int | None
    validation: float
    test: float
    seconds: float
    device: str
    book: float | None


def show(rows: list[Row], caption: str = "") -> None:
    """Print the table."""
    table = Table(box=SIMPLE, caption=caption)
    table.add_column("experiment", no_wrap=True)
    for column in ("seed", "epochs", "validation", "test", "the book", "seconds", "device"):
        table.add_column(column, justify="right")
    for row in rows:
        seed, epochs = ("–" if value is None else str(value) for value in (row.seed, row.epochs))
        book = "–" if row.book is None else f"{row.book:.2%}"
        shares = (f"{row.validation:.2%}", f"{row.test:.2%}")
        table.add_row(row.name, seed, epochs, *shares, book, f"{row.seconds:.1f}", row.device)
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file has no width; do not cut columns
    console.print(table)
