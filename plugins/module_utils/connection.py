"""One authenticated connection to a cluster's API, from the options that kubernetes.core's modules take.

How options, K8S_AUTH_* environment variables, kubeconfigs and the in-cluster account combine is kubernetes.core's own
code, so that both collections always reach the same cluster. Its client is not used: that discovers the API through a
cache on disk, shared between users of a machine and stale after a CRD was installed.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.kubernetes.core.plugins.module_utils.k8s import client as kubernetes_core

from .api import Api
from .errors import PlatformError

# More than watches and requests are ever open at once: the client opens more when they are, but complains of it.
POOL_SIZE = 1000
# A peer that vanished without a word is noticed by the kernel: an idle connection is probed after 10 s and given up
# 15 s later, one with unanswered data after 20 s.
KEEPALIVE_IDLE_SECONDS = 10
KEEPALIVE_INTERVAL_SECONDS = 5
KEEPALIVE_PROBES = 3
UNANSWERED_SECONDS = 20
# A plugin that has just failed to renew credentials is not asked again by every request that is refused.
RENEWAL_PAUSE_SECONDS = 2.0

_LOADING = threading.Lock()


def connect(options: Mapping[str, Any]) -> Api:
    """Return the API that these connection options lead to; no request is made yet."""
    from kubernetes import client, config

    try:
        auth = kubernetes_core._create_auth_spec(None, **dict(options))
        _add_default_kubeconfig(auth)
        _check_context(auth)
        configuration = _loaded(auth)
        headers = kubernetes_core._create_headers(None, **dict(options))
    except config.ConfigException as error:
        raise PlatformError(
            "the connection to the cluster is not configured",
            object=_described(options),
            evidence=str(error),
            next_command="set kubeconfig and context, or K8S_AUTH_KUBECONFIG and K8S_AUTH_CONTEXT",
        ) from error
    except (OSError, ValueError) as error:
        raise PlatformError("the kubeconfig cannot be read", object=_described(options), evidence=str(error)) from error
    # A request is retried here, with backoff and a deadline, and not a second time beneath.
    configuration.retries = False
    configuration.connection_pool_maxsize = POOL_SIZE
    configuration.socket_options = _socket_options()
    api_client = client.ApiClient(configuration)
    for name, value in headers.items():
        kubernetes_core._set_header(api_client, name, value)
    return Api(api_client, _Credentials(api_client, lambda: _loaded(auth)))


class _Credentials:
    """Renewed where they came from, when the server refuses them: an exec plugin is run again, files are read again.

    The client renews only what says when it expires, five minutes before, in every thread at once.
    """

    def __init__(self, api_client: Any, load: Callable[[], Any]) -> None:
        self.generation = 0
        self.problem = ""
        self._api_client, self._load = api_client, load
        self._known = _credentials_of(api_client.configuration)
        self._lock = threading.Lock()
        self._pause_until = 0.0

    def renew(self, refused: int) -> bool:
        """Whether there are others by now than those of the generation that the server refused."""
        from kubernetes import config

        with self._lock:
            if self.generation != refused:
                return True
            if time.monotonic() < self._pause_until:
                return False
            try:
                fresh = self._load()
                found = _credentials_of(fresh)
                self.problem = ""
            except (PlatformError, config.ConfigException, OSError, ValueError) as error:
                self.problem = error.evidence if isinstance(error, PlatformError) else str(error)
                return False
            finally:
                self._pause_until = time.monotonic() + RENEWAL_PAUSE_SECONDS
            if found == self._known:
                return False
            self._use(fresh)
            self._known = found
            self.generation += 1
            return True

    def _use(self, fresh: Any) -> None:
        from kubernetes.client.rest import RESTClientObject

        configuration = self._api_client.configuration
        configuration.api_key = fresh.api_key
        if _certificate_of(fresh) != self._known[1]:
            # A client certificate belongs to a connection: those that are open would go on with the old one.
            configuration.cert_file, configuration.key_file = fresh.cert_file, fresh.key_file
            self._api_client.rest_client = RESTClientObject(configuration)


def _credentials_of(configuration: Any) -> tuple[dict[str, str], tuple[bytes, ...]]:
    return dict(configuration.api_key), _certificate_of(configuration)


def _certificate_of(configuration: Any) -> tuple[bytes, ...]:
    return tuple(Path(file).read_bytes() for file in (configuration.cert_file, configuration.key_file) if file)


def _loaded(auth: Mapping[str, Any]) -> Any:
    """The client's configuration, with credentials as they are now."""
    from kubernetes import client

    with _LOADING, _complaints() as complaints:
        # The client keeps the last kubeconfig it loaded as a default for the whole process.
        client.Configuration.set_default(None)
        try:
            configuration = kubernetes_core._create_configuration(dict(auth))
        finally:
            client.Configuration.set_default(None)
    # At every request it would put back the host of the kubeconfig, whatever the options say.
    configuration.refresh_api_key_hook = None
    if complaints and not configuration.api_key and not configuration.cert_file:
        raise PlatformError(
            "the kubeconfig's credential plugin gave no credentials",
            object=_described(auth),
            evidence="; ".join(complaints),
            next_command="kubectl auth whoami",
        )
    return configuration


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the client logs meanwhile: it goes on without credentials when a plugin fails, and only says so there."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield said
    finally:
        root.removeHandler(handler)


def _socket_options() -> list[tuple[int, int, int]]:
    """As far as the platform has them; macOS calls the idle time TCP_KEEPALIVE and has no limit for unanswered data."""
    from urllib3.connection import HTTPConnection

    wanted = {
        "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE": KEEPALIVE_IDLE_SECONDS,
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_SECONDS,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": UNANSWERED_SECONDS * 1000,
    }
    return [
        *HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *(
            (socket.IPPROTO_TCP, getattr(socket, name), value)
            for name, value in wanted.items()
            if hasattr(socket, name)
        ),
    ]


def _add_default_kubeconfig(auth: dict[str, Any]) -> None:
    """Follow KUBECONFIG as it is now; the client reads it once, when it is imported, before a task sets its
    environment.
    """
    kubeconfig = os.environ.get("KUBECONFIG")
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ  # then the pod's own account goes first, as in kubernetes.core
    if kubeconfig and not auth.get("kubeconfig") and not auth.get("host") and (auth.get("context") or not in_cluster):
        auth["kubeconfig"] = kubeconfig


def _check_context(auth: Mapping[str, Any]) -> None:
    """Say which contexts exist when the one asked for doesn't; the client's own message names none."""
    from kubernetes import config

    wanted, kubeconfig = auth.get("context"), auth.get("kubeconfig")
    if not wanted or auth.get("host"):
        return
    if isinstance(kubeconfig, Mapping):
        names = [str(entry.get("name")) for entry in kubeconfig.get("contexts") or []]
    else:
        contexts, _active = config.list_kube_config_contexts(config_file=kubeconfig)
        names = [str(entry["name"]) for entry in contexts]
    if wanted not in names:
        raise PlatformError(
            f"the kubeconfig has no context {wanted}",
            object=_described(auth),
            evidence=f"contexts that exist: {', '.join(names) or 'none'}",
            next_command="kubectl config get-contexts",
        )


def _described(options: Mapping[str, Any]) -> str:
    kubeconfig = options.get("kubeconfig")
    if options.get("host"):
        return f"host {options['host']}"
    return f"kubeconfig {kubeconfig}" if isinstance(kubeconfig, str) else "kubeconfig"
