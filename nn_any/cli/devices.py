"""``nn-any devices``: which devices are usable here."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

import nn_any as nn
from nn_any.backends import survey
from nn_any.cli.console import print_line


def devices() -> int:
    """Show which devices are usable here, and why the others are not."""
    table = Table("device", "version", "", box=SIMPLE)
    for report in survey():
        for device in report.devices:
            table.add_row(Text(str(device), "green", no_wrap=True), report.version, "usable")
        if report.reason:
            table.add_row(Text(report.library, "red", no_wrap=True), report.version, Text(report.reason))
    console = Console()
    console.print(table)
    best = nn.select_device("auto")
    print_line(console, f"auto is {best}: {best.reason}")
    return 0
