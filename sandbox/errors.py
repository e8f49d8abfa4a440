"""The one exception that the command line turns into a message."""

from __future__ import annotations


class SandboxError(Exception):
    """Something the user must know; the text says what, why and what to do next."""
