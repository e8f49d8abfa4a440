"""The sandbox's own process: runs the controllers, provisions volumes and serves the chart mirror."""

from __future__ import annotations

import functools
import http.server
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from .layout import Layout
from .pod_processes import PodProcesses
from .provisioner import provision
from .record import load_record

_PERIOD_SECONDS = 0.5
_STALE_SECONDS = 20.0


def main() -> None:
    layout = Layout(sys.argv[1])
    record = load_record(layout)
    if record is None:
        sys.exit("no record of this sandbox")
    api = config.new_client_from_config(config_file=str(layout.administrator))
    core, storage = client.CoreV1Api(api), client.StorageV1Api(api)
    pods = PodProcesses(layout, record, core, dict(os.environ))
    health = Health()
    handler = functools.partial(_Handler, health=health, directory=str(layout.charts))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", record.ports["charts"]), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    while not stopping.wait(_PERIOD_SECONDS):
        try:
            pods.sync()
            provision(core, storage)
        except (client.ApiException, HTTPError, OSError, KeyError):
            traceback.print_exc()  # the API server is away or an object half made; the next round tries again
        else:
            health.beat(pods)
    pods.stop()


class Health:
    """When the agent last finished a round, and what it then saw."""

    def __init__(self) -> None:
        self._beat = 0.0
        self._controllers: list[dict[str, Any]] = []

    def beat(self, pods: PodProcesses) -> None:
        self._controllers = [
            {
                "name": name,
                "namespace": namespace,
                "pid": slot.process.pid if slot.process else None,
                "healthy": slot.healthy,
            }
            for (namespace, name), slot in sorted(pods.slots.items())
        ]
        self._beat = time.monotonic()

    def as_response(self) -> tuple[int, bytes]:
        alive = time.monotonic() - self._beat < _STALE_SECONDS
        return (200 if alive else 503), json.dumps({"pid": os.getpid(), "controllers": self._controllers}).encode()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The chart repository, and /healthz."""

    def __init__(self, *arguments: Any, health: Health, **options: Any) -> None:
        self._health = health
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        if self.path != "/healthz":
            super().do_GET()
            return
        code, body = self._health.as_response()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


if __name__ == "__main__":
    main()
