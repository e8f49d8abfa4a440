"""The controllers that run for real: how a pod of their chart becomes a command line here. Pure rules, no I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .record import Record

# The label by which the stages (stages/pod.yaml) know these pods too.
NAME_LABEL = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Workspace:
    """Where the pieces of one process lie, and what it must be told of the sandbox."""

    folder: Path
    kubeconfig: Path
    certificate_authority: Path
    vpc_id: str
    region: str
    record: Record

    def port(self, name: str) -> int:
        return self.record.ports[name]


@dataclass(frozen=True)
class Arguments:
    """What the sandbox adds to a container's own arguments: `forced` wins over the chart, `missing` only fills gaps.

    A text in `missing` means what it means in the container, where a path may be in a volume; a Path is a file here.
    """

    forced: Mapping[str, str]
    missing: Mapping[str, str | Path]


@dataclass(frozen=True)
class Controller:
    """Ready when `health_url` answers 200; with `needs_certificate` it starts only once its Secret volume is filled."""

    binary: str
    arguments: Callable[[Workspace], Arguments]
    health_url: Callable[[Record], str]
    needs_certificate: bool = False


def _load_balancer_controller(workspace: Workspace) -> Arguments:
    url = workspace.record.cloud_url
    services = ("ec2", "elasticloadbalancing", "acm", "tagging", "wafv2", "waf-regional", "shield", "sts")
    return Arguments(
        forced={
            "kubeconfig": str(workspace.kubeconfig),
            "aws-api-endpoints": ",".join(f"{service}={url}" for service in services),
            "enable-leader-election": "false",
            "metrics-bind-addr": f"127.0.0.1:{workspace.port('lbc_metrics')}",
            "health-probe-bind-addr": f"127.0.0.1:{workspace.port('lbc_health')}",
        },
        missing={
            # On EC2 these two come from the instance metadata service.
            "aws-region": workspace.region,
            "aws-vpc-id": workspace.vpc_id,
            "webhook-cert-dir": "/tmp/k8s-webhook-server/serving-certs",
            # The fake AWS has no shield and no WAF.
            "enable-shield": "false",
            "enable-waf": "false",
            "enable-wafv2": "false",
        },
    )


def _external_secrets(workspace: Workspace) -> Arguments:
    return Arguments(
        forced={"metrics-addr": f"127.0.0.1:{workspace.port('eso_metrics')}", "enable-leader-election": "false"},
        missing={},
    )


def _external_secrets_webhook(workspace: Workspace) -> Arguments:
    return Arguments(
        forced={
            "metrics-addr": f"127.0.0.1:{workspace.port('eso_webhook_metrics')}",
            "healthz-addr": f"127.0.0.1:{workspace.port('eso_webhook_health')}",
        },
        missing={},
    )


def _external_secrets_certificates(workspace: Workspace) -> Arguments:
    return Arguments(
        forced={
            "metrics-addr": f"127.0.0.1:{workspace.port('eso_certs_metrics')}",
            "healthz-addr": f"127.0.0.1:{workspace.port('eso_certs_health')}",
            "enable-leader-election": "false",
        },
        missing={},
    )


def _metrics_server(workspace: Workspace) -> Arguments:
    kubeconfig = str(workspace.kubeconfig)
    return Arguments(
        forced={
            "kubeconfig": kubeconfig,
            "authentication-kubeconfig": kubeconfig,
            "authorization-kubeconfig": kubeconfig,
            "bind-address": workspace.record.address,
            # It is ready only after two scrapes; the request must be shorter than the time between them.
            "metric-resolution": "10s",
            "kubelet-request-timeout": "5s",
        },
        missing={"kubelet-certificate-authority": workspace.certificate_authority},
    )


CONTROLLERS: Mapping[str, Controller] = {
    "aws-load-balancer-controller": Controller(
        "aws-load-balancer-controller",
        _load_balancer_controller,
        lambda record: f"http://127.0.0.1:{record.ports['lbc_health']}/readyz",
        needs_certificate=True,
    ),
    "external-secrets": Controller(
        "external-secrets",
        _external_secrets,
        lambda record: f"http://127.0.0.1:{record.ports['eso_metrics']}/metrics",
    ),
    "external-secrets-webhook": Controller(
        "external-secrets",
        _external_secrets_webhook,
        lambda record: f"http://127.0.0.1:{record.ports['eso_webhook_health']}/readyz",
        needs_certificate=True,
    ),
    "external-secrets-cert-controller": Controller(
        "external-secrets",
        _external_secrets_certificates,
        lambda record: f"http://127.0.0.1:{record.ports['eso_certs_health']}/readyz",
    ),
    "metrics-server": Controller(
        "metrics-server",
        _metrics_server,
        lambda record: f"https://{record.address}:{record.ports['metrics_server']}/readyz",
    ),
}


def command_arguments(
    container: Mapping[str, Any], environment: Mapping[str, str], mounts: Mapping[str, Path], added: Arguments
) -> list[str]:
    """The container's own arguments, `$(VAR)` expanded and mount paths led to their folders, then the sandbox's.

    Of a flag given twice all these programs take the last, so the chart's own arguments stay visible.
    """
    own = [
        _expand(argument, environment)
        for argument in [*_tail(container.get("command")), *(container.get("args") or [])]
    ]
    given = {argument.lstrip("-").partition("=")[0] for argument in own if argument.startswith("-")}
    missing = {flag: value for flag, value in added.missing.items() if flag not in given and flag not in added.forced}
    filled = [f"--{flag}={value}" for flag, value in missing.items() if isinstance(value, str)]
    here = [f"--{flag}={value}" for flag, value in missing.items() if isinstance(value, Path)]
    forced = [f"--{flag}={value}" for flag, value in added.forced.items()]
    return [_in_folder(argument, mounts) for argument in [*own, *filled]] + here + forced


def _tail(command: Sequence[str] | None) -> Sequence[str]:
    # The first word of a command is the image's binary, which is ours here.
    return (command or [])[1:]


def _expand(argument: str, environment: Mapping[str, str]) -> str:
    return re.sub(
        r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda match: environment.get(match.group(1), match.group(0)), argument
    )


def _in_folder(argument: str, mounts: Mapping[str, Path]) -> str:
    flag, separator, value = argument.partition("=")
    if not separator:
        return argument
    for path in sorted(mounts, key=len, reverse=True):
        if value == path or value.startswith(f"{path}/"):
            return f"{flag}={mounts[path]}{value[len(path) :]}"
    return argument


def cloud_environment(
    annotations: Mapping[str, str], token_file: Path, record: Record, region: str, keys: Mapping[str, str]
) -> dict[str, str]:
    """AWS settings of a pod: its ServiceAccount's role as EKS' identity webhook injects it, else the node's keys."""
    url = record.cloud_url
    common = {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        # External Secrets knows the last three only; newer SDKs the first.
        "AWS_ENDPOINT_URL": url,
        "AWS_SECRETSMANAGER_ENDPOINT": url,
        "AWS_STS_ENDPOINT": url,
        "AWS_SSM_ENDPOINT": url,
    }
    if role := annotations.get("eks.amazonaws.com/role-arn"):
        return {
            **common,
            "AWS_ROLE_ARN": role,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
            "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        }
    return {**common, **keys}
