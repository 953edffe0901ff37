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
    reasons = []
    for report in survey():
        for device in report.devices:
            table.add_row(Text(str(device), "green", no_wrap=True), report.version, "usable")
        if report.reason:
            named = report.reason.startswith(report.library)
            reasons.append(report.reason if named else f"{report.library}: {report.reason}")
            if not report.devices:
                table.add_row(Text(report.library, "red", no_wrap=True), report.version, "not usable")
    console = Console()
    console.print(table)
    for reason in reasons:
        print_line(console, reason)  # whole, so that a command in it can be copied
    best = nn.select_device("auto")
    print_line(console, f"auto is {best}: {best.reason}")
    return 0
