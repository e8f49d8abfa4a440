"""The one exception that the command line turns into a message."""

from __future__ import annotations


class BenchError(Exception):
    """Something that ends the bench; the text says what."""
