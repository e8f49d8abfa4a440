#!/usr/bin/python
# Copyright: erp.platform contributors
# MIT License (see LICENSE)
"""Wait until Kubernetes objects are ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: readiness_gate
short_description: Wait until Kubernetes objects are ready, fail early and say why
version_added: 0.1.0
description:
  - Watches objects until all of them are ready, by the rules of each kind, and confirms it by listing them once more.
  - Fails early, with the cause, the evidence and the next command, when an object will not become ready.
  - An object that does not exist, a kind that is not served and a selector that matches nothing are not ready.
author:
  - erp.platform contributors (@erp-platform)
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - erp.platform.gate
  - erp.platform.gate.attributes
attributes:
  check_mode:
    support: full
    details: Reports the present state; neither waits nor fails.
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: N/A
    details: It changes nothing.
options:
  objects:
    description: What to wait for.
    type: list
    elements: dict
    default: []
    suboptions:
      api_version:
        description: API version.
        type: str
        default: v1
      kind:
        description: Kind.
        type: str
        required: true
      namespace:
        description: Namespace, for a namespaced kind.
        type: str
      name:
        description: Name of one object; either this or O(objects[].label_selector).
        type: str
      label_selector:
        description: Label selector of one or more objects, as kubectl takes it.
        type: str
      expected_count:
        description: How many objects the selector must match; at least one if not set.
        type: int
      min_ready_endpoints:
        description: For a Service by name, how many ready addresses its EndpointSlices must have.
        type: int
      condition:
        description:
          - A condition of the object's status that decides whether it is ready, instead of what the kind's rule says.
          - An object that is being deleted, that failed, or whose controller has not seen its newest generation is not
            ready whatever the condition says.
        type: dict
        version_added: 0.2.0
        suboptions:
          type:
            description: Type of the condition.
            type: str
            required: true
          status:
            description: The status it must have.
            type: str
            choices: ["True", "False", "Unknown"]
            default: "True"
          reason:
            description: The reason it must have; any if not set.
            type: str
      ready_when:
        description:
          - A JMESPath expression over the object that yields the boolean V(true) when it is ready, for what no
            condition tells. Texts stand in single quotes; C(!) binds tighter than a dot, so write V(!(status.x\)).
          - Otherwise as O(objects[].condition), which excludes it.
        type: str
        version_added: 0.2.0
      timeout_seconds:
        description: Deadline of this entry instead of O(timeout_seconds).
        type: int
  manifests:
    description: Objects to wait for, given as manifests; only their names are read.
    type: list
    elements: dict
    default: []
  helm_releases:
    description: Helm releases whose objects to wait for; hooks are not among them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the release.
        type: str
        required: true
      namespace:
        description: Namespace of the release.
        type: str
        required: true
  stable_seconds:
    description: For how long everything must stay ready without a break, in seconds.
    type: int
    default: 0
seealso:
  - module: erp.platform.rollout
"""

EXAMPLES = r"""
- name: Wait for the load balancer controller and its webhook
  erp.platform.readiness_gate:
    helm_releases:
      - name: aws-load-balancer-controller
        namespace: kube-system
    objects:
      - kind: Service
        namespace: kube-system
        name: aws-load-balancer-webhook-service
        min_ready_endpoints: 1
    timeout_seconds: 300

- name: Wait for three brokers that stay ready for ten seconds
  erp.platform.readiness_gate:
    objects:
      - kind: Pod
        namespace: erp-dev
        label_selector: app=kafka
        expected_count: 3
    stable_seconds: 10

- name: Wait for a database that says in words of its own when it is ready
  erp.platform.readiness_gate:
    objects:
      - api_version: postgresql.cnpg.io/v1
        kind: Cluster
        namespace: erp-dev
        name: approval
        ready_when: status.readyInstances == spec.instances
      - api_version: kafka.strimzi.io/v1beta2
        kind: KafkaTopic
        namespace: erp-dev
        name: approval-requests
        condition:
          type: Ready
"""

RETURN = r"""
ready:
  description: Whether everything is ready.
  returned: always, unless the input was refused
  type: bool
objects:
  description: The state of every object.
  returned: always, unless the input was refused
  type: list
  elements: dict
  contains:
    api_version:
      description: API version.
      type: str
    kind:
      description: Kind.
      type: str
    namespace:
      description: Namespace, empty for a cluster-scoped kind.
      type: str
    name:
      description: Name, or the label selector.
      type: str
    status:
      description: V(Current), V(InProgress), V(Failed), V(Terminating), V(NotFound) or V(Unknown).
      type: str
    reason:
      description: The status in one word.
      type: str
    message:
      description: The status in a sentence.
      type: str
    ready_after_seconds:
      description: Seconds until it was ready.
      type: float
failures:
  description: Everything that is not ready and why.
  returned: always
  type: list
  elements: dict
  contains:
    object:
      description: What failed.
      type: str
    cause:
      description: Why, in one sentence.
      type: str
    evidence:
      description: What shows it.
      type: str
    next_command:
      description: What to run next.
      type: str
"""

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.erp.platform.plugins.module_utils.arguments import (
    READINESS_GATE,
    connection_options,
    invocation,
    readiness_gate_options,
)
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.readiness import wait_until_ready
from ansible_collections.erp.platform.plugins.module_utils.report_files import ReportFiles, concluded


def main() -> None:
    module = AnsibleModule(argument_spec=READINESS_GATE, supports_check_mode=True)
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        module.fail_json(msg=missing_required_lib("kubernetes"), exception=traceback.format_exc())
    result = concluded(
        lambda: wait_until_ready(
            connect(connection_options(module.params)),
            readiness_gate_options(module.params, module.check_mode),
            report=silent,
        ),
        ReportFiles.asked_for("erp.platform.readiness_gate", module.params, module.check_mode),
        with_diff=module._diff,
    )
    module.exit_json(**result, invocation=invocation(module.params))


if __name__ == "__main__":
    main()
