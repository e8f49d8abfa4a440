"""Starts and ends a sandbox."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from . import agent_link, charts, cloud, cluster, nodes, ports, processes
from .layout import Layout, cache_directory
from .record import PORTS, Record, load_record
from .status import NOT_RUNNING, parts
from .tools import Toolbox, build_tools

_PATIENCE_SECONDS = 20.0


def up(layout: Layout) -> None:
    """Starts the sandbox unless it runs and is healthy; what an earlier, killed one left behind is cleaned up first."""
    started = time.monotonic()
    if _is_healthy(layout):
        _say(f"{layout.name} is up")
        return
    tools = build_tools()
    with _one_at_a_time():
        if _is_healthy(layout):  # another `up` was faster
            _say(f"{layout.name} is up")
            return
        _clean(layout)
        _start(layout, tools)
    _say(f"{layout.name} is up after {time.monotonic() - started:.1f} s; use it with")
    _say(f'    eval "$(sandbox/sandbox env --name {layout.name})"')


def down(layout: Layout) -> None:
    """Ends every process of the sandbox and deletes its state."""
    with _one_at_a_time():
        existed = layout.state.exists()
        _clean(layout)
    _say(f"{layout.name} is down" if existed else f"{layout.name} was not up")


def _start(layout: Layout, tools: Toolbox) -> None:
    layout.state.mkdir(parents=True)
    layout.bin.mkdir()
    for name, path in tools.binaries.items():
        (layout.bin / name).symlink_to(path)
    record = Record(ports.claim_ports(PORTS, layout.state), ports.own_address())
    record.save(layout)

    inherited = _inherited_environment(layout)
    server = cloud.start_cloud(layout, record, inherited)
    _say("starting the control plane")
    with ThreadPoolExecutor() as pool:
        mirror = pool.submit(charts.build_mirror, layout, record, tools, inherited)
        cluster.start_cluster(layout, record, tools, inherited)
        cloud.wait_for_cloud(server, layout, record)
        _say("creating the cloud's resources and the nodes")
        vpc_id, instances = cloud.seed(record)
        mirror.result()
    record = dataclasses.replace(record, vpc_id=vpc_id, instances=instances)
    record.save(layout)
    agent_link.start_agent(layout, inherited)
    nodes.create_nodes(layout, record)
    nodes.create_storage(layout)
    nodes.wait_for_nodes(layout, record)
    agent_link.wait_for_agent(layout, record)
    dataclasses.replace(record, ready=True).save(layout)


def _is_healthy(layout: Layout) -> bool:
    """Whether everything that `up` starts works; a part that runs but does not answer gets some time."""
    record = load_record(layout)
    if record is None or not record.ready:
        return False
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        found = parts(layout, record)
        if not any(part.problem for part in found):
            return True
        if any(part.problem == NOT_RUNNING for part in found) or time.monotonic() > deadline:
            return False
        time.sleep(1)


def _clean(layout: Layout) -> None:
    ended = processes.stop_all(layout.state)
    if ended:
        _say(f"ended {ended} processes of {layout.name}")
    shutil.rmtree(layout.state, ignore_errors=True)
    ports.release_ports(layout.state)
    with contextlib.suppress(OSError):  # another sandbox lives there
        layout.state.parent.rmdir()


def _inherited_environment(layout: Layout) -> dict[str, str]:
    """The caller's environment without what could send a process of the sandbox elsewhere."""
    foreign = ("AWS_", "KUBE", "K8S_", "KWOK_", "HELM_", "MOTO_", "PYTHON")
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(foreign) and not key.lower().endswith("_proxy")
    }
    temporary = layout.state / "tmp"
    temporary.mkdir()
    return {**kept, "TMPDIR": str(temporary)}


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """One start or end at a time for this user; the lock is on a folder itself, so that no lock file is left."""
    folder = cache_directory() / "ports"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another sandbox that is starting or ending")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _say(text: str) -> None:
    print(f"sandbox: {text}", file=sys.stderr, flush=True)
