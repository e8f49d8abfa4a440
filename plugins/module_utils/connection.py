"""One authenticated connection to a cluster's API, from the options that kubernetes.core's modules take.

How options, K8S_AUTH_* environment variables, kubeconfigs and the in-cluster account combine is kubernetes.core's own
code, so that both collections always reach the same cluster. Its client is not used: that discovers the API through a
cache on disk, shared between users of a machine and stale after a CRD was installed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.kubernetes.core.plugins.module_utils.k8s import client as kubernetes_core

from .api import Api
from .errors import PlatformError

# As many requests as apply and watch have open at once; more would only queue in the client.
POOL_SIZE = 64


def connect(options: Mapping[str, Any]) -> Api:
    """Return the API that these connection options lead to; no request is made yet."""
    from kubernetes import client, config

    try:
        auth = kubernetes_core._create_auth_spec(None, **dict(options))
        _add_default_kubeconfig(auth)
        _check_context(auth)
        # The client keeps the last kubeconfig it loaded as a default for the whole process, with a hook that puts that
        # kubeconfig's host back at every request: two connections in one process would mix.
        client.Configuration.set_default(None)
        configuration = kubernetes_core._create_configuration(auth)
        client.Configuration.set_default(None)
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
    api_client = client.ApiClient(configuration)
    for name, value in headers.items():
        kubernetes_core._set_header(api_client, name, value)
    return Api(api_client)


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
