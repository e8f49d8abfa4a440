"""A command is measured as a whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.process import run

# A shell that waits for a child which holds 60 MB for a moment.
HOLDS = f"{sys.executable} -c 'import time; held = bytearray(60_000_000); time.sleep(0.8)'; exit 3"
BURNS = f"{sys.executable} -c 'import time; t = time.process_time() + 0.3\nwhile time.process_time() < t: pass'; true"


def test_memory_and_exit_code_are_those_of_the_whole_tree(tmp_path: Path) -> None:
    ended = run(["bash", "-c", HOLDS], os.environ, tmp_path, 30)
    assert ended.exit_code == 3
    assert 60 < ended.rss_mb < 100
    assert ended.wall_seconds > 0.8


def test_cpu_includes_children(tmp_path: Path) -> None:
    assert 0.3 <= run(["bash", "-c", BURNS], os.environ, tmp_path, 30).cpu_seconds < 2


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    ended = run(["bash", "-c", "sleep 77 & echo $! > child; echo begun; wait"], os.environ, tmp_path, 0.3)
    assert (ended.exit_code, ended.last_lines) == (None, "begun")
    child = (tmp_path / "child").read_text().strip()
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
