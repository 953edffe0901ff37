"""The places that have no remedy, and why."""

SIGNALS = {}
"""Errors that the package raises and catches itself, by their classes."""

WITHOUT = {}
"""Other places, by their keys."""
