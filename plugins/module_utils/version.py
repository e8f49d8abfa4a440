"""The collection's version, as it is written into the cluster."""

from __future__ import annotations

VERSION = "0.1.0"
