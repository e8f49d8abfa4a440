"""The chart mirror: upstream's charts from the Go module cache, with the sandbox's own ports as their default values.

Webhooks and aggregated APIs of all sandboxes of a machine share its address, so the ports on which their controllers
listen must differ. A chart repository of our own lets the default values say so, while the roles install with ordinary
ones. README.md lists every difference.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import SandboxError
from .layout import Layout
from .record import Record
from .tools import Toolbox


@dataclass(frozen=True)
class Chart:
    """A chart inside the module that `tool` pins; `port_line` is a regular expression for a line of its values.yaml."""

    tool: str
    module: str
    folder: str
    port_line: str
    port: str


CHARTS = (
    Chart(
        "aws-load-balancer-controller",
        "sigs.k8s.io/aws-load-balancer-controller",
        "helm/aws-load-balancer-controller",
        r"^webhookBindPort:$",
        "lbc_webhook",
    ),
    Chart(
        "external-secrets",
        "github.com/external-secrets/external-secrets",
        "deploy/charts/external-secrets",
        r"^  port: 10250$",
        "eso_webhook",
    ),
    Chart(
        "metrics-server",
        "sigs.k8s.io/metrics-server",
        "charts/metrics-server",
        r"^containerPort: 10250$",
        "metrics_server",
    ),
)


def build_mirror(layout: Layout, record: Record, tools: Toolbox, inherited: Mapping[str, str]) -> None:
    """Packages every chart into the mirror's folder and writes its index."""
    layout.charts.mkdir()
    work = layout.state / "charts.partial"
    # helm would otherwise read and write the user's own configuration.
    homes = {f"HELM_{kind}_HOME": str(work / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    environment = {**inherited, **homes}
    for chart in CHARTS:
        module = tools.module_directory(chart.tool, chart.module)
        copy = work / chart.tool
        shutil.copytree(module / chart.folder, copy, copy_function=shutil.copyfile)
        _set_port(copy / "values.yaml", chart, record.ports[chart.port])
        if chart.tool == "external-secrets":
            _complete_external_secrets(copy, module / "deploy" / "crds" / "bundle.yaml")
        _helm(tools, ["package", str(copy), "--destination", str(layout.charts)], environment)
    _helm(tools, ["repo", "index", str(layout.charts)], environment)
    shutil.rmtree(work)


def _set_port(values: Path, chart: Chart, port: int) -> None:
    def with_port(match: re.Match[str]) -> str:
        return f"{match.group(0).partition(':')[0]}: {port}"

    text, count = re.subn(chart.port_line, with_port, values.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise SandboxError(f"the chart {chart.tool} changed: {chart.port_line} occurs {count} times in {values}")
    values.write_text(text)


def _complete_external_secrets(chart: Path, definitions: Path) -> None:
    """Puts the CRDs in, behind `installCRDs`, as upstream's packaging does; drops a subchart that the module lacks."""
    metadata = chart / "Chart.yaml"
    metadata.write_text(re.sub(r"^dependencies:\n(?:[ -].*\n)*", "", metadata.read_text(), flags=re.MULTILINE))
    (chart / "Chart.lock").unlink()
    template = chart / "templates" / "crds" / "bundle.yaml"
    template.write_text("{{- if .Values.installCRDs }}\n" + definitions.read_text().strip() + "\n{{- end }}\n")


def _helm(tools: Toolbox, arguments: list[str], environment: Mapping[str, str]) -> None:
    outcome = subprocess.run(
        [tools["helm"], *arguments], env=dict(environment), capture_output=True, text=True, check=False
    )
    if outcome.returncode != 0:
        raise SandboxError(f"helm {arguments[0]} failed: {outcome.stderr.strip()}")
