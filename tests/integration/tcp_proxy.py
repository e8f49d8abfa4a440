"""A TCP proxy in front of an API server, with the faults that load balancers, gateways and networks have."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Above 32767 the kernel hands ports out to outgoing connections.
PORTS = range(15000, 32000)


class Proxy:
    """Forwards TCP until it is told not to. What was broken stays broken; ``mend`` is for new connections."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: list[_Connection] = []
        self._on_accept: Callable[[_Connection], None] | None = None
        self._bytes_per_second: float | None = None
        self._listener = _listen()
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and every new one, until ``mend``."""
        self._on_accept = _Connection.end
        self._break(_Connection.end)

    def reset(self) -> None:
        """Every connection ends with a TCP reset; new ones work."""
        self._break(_Connection.reset)

    def swallow(self) -> None:
        """Every connection stays open and nothing comes through any more; new ones work."""
        self._break(_Connection.swallow)

    def stall(self) -> None:
        """The same, and new connections are swallowed as well until ``mend``."""
        self._on_accept = _Connection.swallow
        self._break(_Connection.swallow)

    def lose_server(self) -> None:
        """The server's end of every connection is closed, and the client isn't told; new ones work."""
        self._break(_Connection.lose_server)

    def slow_down(self, bytes_per_second: float) -> None:
        """Each connection passes on a few bytes at a time."""
        self._bytes_per_second = bytes_per_second

    def lead_to(self, host: str, port: int) -> None:
        """Every connection ends, and new ones lead to another server."""
        self._target = (host, port)
        self._break(_Connection.end)

    def mend(self) -> None:
        self._on_accept = None

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _break(self, fault: Callable[[_Connection], None]) -> None:
        broken, self._open = self._open, []
        for connection in broken:
            fault(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                connection = _Connection(client, socket.create_connection(self._target), lambda: self._bytes_per_second)
            except OSError:
                client.close()
                continue
            if self._on_accept is not None:
                self._on_accept(connection)
            else:
                self._open.append(connection)


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket, rate: Callable[[], float | None]) -> None:
        self._client, self._server, self._rate = client, server, rate
        self._swallowed = threading.Event()
        for source, sink in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def end(self) -> None:
        _shut(self._client)
        _shut(self._server)

    def reset(self) -> None:
        self._swallowed.set()
        # To linger for no time means to reset. A thread that reads from it would keep it open: end its read first.
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RD)
        self._client.close()
        _shut(self._server)

    def swallow(self) -> None:
        self._swallowed.set()

    def lose_server(self) -> None:
        self._swallowed.set()
        _shut(self._server)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._swallowed.is_set():
                    self._send(sink, data)
        if not self._swallowed.is_set():
            self.end()

    def _send(self, sink: socket.socket, data: bytes) -> None:
        piece = 64
        for start in range(0, len(data), piece):
            rate = self._rate()
            if rate is None:
                sink.sendall(data[start:])
                return
            sink.sendall(data[start : start + piece])
            time.sleep(piece / rate)


@contextmanager
def every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Meanwhile, do this again and again."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _listen() -> socket.socket:
    for port in random.sample(PORTS, k=100):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise RuntimeError("no free port")


def _shut(end: socket.socket) -> None:
    # Not close: that would leave a thread that is reading from it waiting, and the peer in the dark.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
