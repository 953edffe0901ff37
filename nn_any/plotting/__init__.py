"""Pictures, drawn by matplotlib, which is an optional extra and imported when something is drawn."""

from nn_any.plotting.sweep import REMEDY, Row, sweep_picture

__all__ = ["REMEDY", "Row", "sweep_picture"]
