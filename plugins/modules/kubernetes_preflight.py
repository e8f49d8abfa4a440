#!/usr/bin/python
# Copyright: erp.platform contributors
# MIT License (see LICENSE)
"""Compare a cluster with what the inventory says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_preflight
short_description: Whether a cluster is the right one and lets us work
version_added: 0.1.0
description:
  - Tells whether the API server can be reached with these credentials, is the cluster that the inventory means,
    has a supported version, and grants what the phases need (by SelfSubjectAccessReview).
  - Changes nothing and does not fail; it returns every problem at once. A dead server is noticed within seconds.
author: erp.platform maintainers (@erp)
extends_documentation_fragment:
  - erp.platform.read_only
  - kubernetes.core.k8s_auth_options
options:
  minimum_version:
    description: Oldest supported version of Kubernetes, as C(major.minor).
    type: str
  maximum_version:
    description: Newest supported version of Kubernetes, as C(major.minor).
    type: str
  endpoint:
    description:
      - Address that the API server must have, as EKS reports it.
      - Another address is accepted if O(certificate_authority) is the connection's; so a tunnel or a proxy works.
    type: str
  certificate_authority:
    description: The cluster's certificate authority, base64 of PEM as EKS reports it.
    type: str
  permissions:
    description: What the user must be allowed to do.
    type: list
    elements: dict
    default: []
    suboptions:
      verbs:
        description: Verbs of the API.
        type: list
        elements: str
        required: true
      group:
        description: API group; empty for the core group.
        type: str
        default: ''
      resource:
        description: Resource in the plural, with a subresource behind a slash.
        type: str
        required: true
      namespace:
        description: Namespace; empty for all of them, or for what has none.
        type: str
        default: ''
      name:
        description: Name of one object; empty for all.
        type: str
        default: ''
requirements:
  - kubernetes >= 31
"""

EXAMPLES = r"""
- name: Look at the cluster before changing it
  erp.platform.kubernetes_preflight:
    context: arn:aws:eks:ap-northeast-2:806332783810:cluster/erp-dev-cluster
    minimum_version: "1.30"
    maximum_version: "1.35"
    permissions:
      - {verbs: [create, patch], group: apps, resource: deployments, namespace: erp-dev}
  register: cluster
"""

RETURN = r"""
problems:
  description: One text per problem, with object, cause, evidence and next command.
  type: list
  elements: str
  returned: always
server_version:
  description: Version of the API server; empty if it could not be asked.
  type: str
  returned: always
  sample: v1.34.4
endpoint:
  description: Address of the API server that the connection options lead to; empty if they lead to none.
  type: str
  returned: always
user:
  description: The name that the server knows the credentials by.
  type: str
  returned: always
"""

import os
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.erp.platform.plugins.module_utils.kubernetes_preflight import Permission, Wanted, check
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

ARGUMENT_SPEC = {
    "minimum_version": {"type": "str"},
    "maximum_version": {"type": "str"},
    "endpoint": {"type": "str"},
    "certificate_authority": {"type": "str"},
    "permissions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "verbs": {"type": "list", "elements": "str", "required": True},
            "group": {"type": "str", "default": ""},
            "resource": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": ""},
            "name": {"type": "str", "default": ""},
        },
    },
}


def main() -> None:
    module = AnsibleModule(argument_spec={**AUTH_ARG_SPEC, **ARGUMENT_SPEC}, supports_check_mode=True)
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        module.fail_json(msg=missing_required_lib("kubernetes"), exception=traceback.format_exc())
    options = {name: module.params[name] for name in AUTH_ARG_SPEC if module.params[name] is not None}
    permissions = [
        Permission(**{**permission, "verbs": tuple(permission["verbs"])}) for permission in module.params["permissions"]
    ]
    wanted = Wanted(
        minimum_version=module.params["minimum_version"] or "",
        maximum_version=module.params["maximum_version"] or "",
        permissions=permissions,
        endpoint=module.params["endpoint"] or "",
        certificate_authority=module.params["certificate_authority"] or "",
    )
    found = check(options, os.environ, wanted)
    module.exit_json(
        changed=False,
        problems=[str(problem) for problem in found.problems],
        server_version=found.server_version,
        endpoint=found.endpoint,
        user=found.user,
    )


if __name__ == "__main__":
    main()
