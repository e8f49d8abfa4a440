"""Property tests give the same verdict on a slow machine as on a fast one."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("any-machine", deadline=None, print_blob=True)
settings.load_profile("any-machine")
