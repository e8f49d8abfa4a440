"""moto's server with what a test needs and moto lacks.

* The health of a target is what a tag of its target group says, so that a test can make targets unhealthy from
  outside, by plain elbv2 calls. Key `sandbox.erp.platform/health/<target id>`, or `sandbox.erp.platform/health` for
  all targets; value `<state>` or `<state>:<reason>`, e.g. `unhealthy:Target.Timeout`. Without such a tag moto's own
  answer stands (healthy).
* The EKS record names the sandbox's own API server and certificate authority, and the VPC of its subnets, as a real
  one does.
"""

from __future__ import annotations

import argparse
import base64
import os
from pathlib import Path
from typing import Any

HEALTH_TAG = "sandbox.erp.platform/health"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--eks-endpoint", required=True)
    parser.add_argument("--eks-certificate-authority", type=Path, required=True)
    arguments = parser.parse_args()

    os.environ["MOTO_PORT"] = str(arguments.port)
    _report_health_by_tag()
    _name_the_real_endpoint(arguments.eks_endpoint, arguments.eks_certificate_authority)

    from moto.server import main as serve

    serve(["--host", "127.0.0.1", "--port", str(arguments.port)])


def _report_health_by_tag() -> None:
    from moto.elbv2.models import FakeHealthStatus, FakeTargetGroup, elbv2_backends

    reported_by_moto = FakeTargetGroup.health_for

    def health_for(self: Any, target: dict[str, Any], ec2_backend: Any) -> FakeHealthStatus:
        health = reported_by_moto(self, target, ec2_backend)
        if target["Id"] not in self.targets:
            return health
        _, _, _, region, account, _ = self.arn.split(":", 5)
        tags = elbv2_backends[account][region].tagging_service.get_tag_dict_for_resource(self.arn)
        wanted = tags.get(f"{HEALTH_TAG}/{target['Id']}") or tags.get(HEALTH_TAG)
        if not wanted:
            return health
        state, _, reason = wanted.partition(":")
        return FakeHealthStatus(
            health.instance_id,
            health.port,
            health.health_check_port,
            state,
            reason or None,
            f"set by the tag {HEALTH_TAG}" if state != "healthy" else None,
        )

    FakeTargetGroup.health_for = health_for  # type: ignore[method-assign]


def _name_the_real_endpoint(endpoint: str, certificate_authority: Path) -> None:
    from moto.ec2.models import ec2_backends
    from moto.eks.models import Cluster

    initialise = Cluster.__init__

    def with_endpoint(self: Any, *arguments: Any, **options: Any) -> None:
        initialise(self, *arguments, **options)
        self.endpoint = endpoint
        subnets = ec2_backends[options["account_id"]][options["region_name"]].describe_subnets(
            self.resources_vpc_config["subnetIds"]
        )
        self.resources_vpc_config = {**self.resources_vpc_config, "vpcId": subnets[0].vpc_id}
        self.certificate_authority = {"data": base64.b64encode(certificate_authority.read_bytes()).decode()}

    Cluster.__init__ = with_endpoint  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
