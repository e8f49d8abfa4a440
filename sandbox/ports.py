"""Ports below the ephemeral range, claimed so that sandboxes of all clones of this user keep apart."""

from __future__ import annotations

import fcntl
import random
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import SandboxError
from .layout import cache_directory

# Above 32767 the kernel hands ports out to outgoing connections.
_RANGE = range(15000, 32000)
_SIOCGIFADDR = 0x8915


def claim_ports(names: Iterable[str], owner: Path) -> dict[str, int]:
    """One free port per name, claimed for the state directory `owner` until `release_ports`.

    A claim matters more than a bind test: a controller's port is free until its chart is installed.
    """
    claims = cache_directory() / "ports"
    claims.mkdir(parents=True, exist_ok=True)
    candidates = iter(random.sample(_RANGE, k=len(_RANGE)))
    return {name: _claim(candidates, claims, owner, name) for name in names}


def release_ports(owner: Path) -> None:
    """Gives up every claim of `owner`."""
    for claim in (cache_directory() / "ports").glob("*"):
        if _owner(claim) == str(owner):
            claim.unlink(missing_ok=True)


def own_address() -> str:
    """This machine's own IPv4 address. The controllers' pods get it: an endpoint may not be a loopback address."""
    for address in (_routed_address(), *_interface_addresses()):
        if address and not address.startswith("127."):
            return address
    raise SandboxError("this machine has no IPv4 address but loopback; the controllers' webhooks need one")


def _routed_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only asks the routing table which address would be used.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _interface_addresses() -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            yield socket.inet_ntoa(answer[20:24])


def _claim(candidates: Iterable[int], claims: Path, owner: Path, name: str) -> int:
    for port in candidates:
        claim = claims / str(port)
        if (holder := _owner(claim)) and Path(holder).exists():
            continue
        if not _is_free(port):
            continue
        claim.write_text(str(owner))
        return port
    raise SandboxError(f"no free port left for {name} in {_RANGE.start}-{_RANGE.stop}")


def _owner(claim: Path) -> str:
    try:
        return claim.read_text().strip()
    except FileNotFoundError:
        return ""


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
