#!/usr/bin/python
# Copyright: erp.platform contributors
# MIT License (see LICENSE)
"""Apply manifests as a graph and wait until they are ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
short_description: Apply Kubernetes manifests as a graph and wait until they are ready
version_added: 0.1.0
description:
  - Applies manifests server-side, node by node; a node starts the moment everything it depends on is ready.
  - Fails early, with the cause, the evidence and the next command, when an object will not become ready.
  - Inside a node, kinds are applied in this order - Namespace, CustomResourceDefinition, ServiceAccount, RBAC,
    ConfigMap and Secret, SecretStore, ExternalSecret, PersistentVolumeClaim, NetworkPolicy, Service,
    TargetGroupBinding, workloads, PodDisruptionBudget, HorizontalPodAutoscaler, Ingress.
  - Pod templates get an annotation C(checksum.erp.platform/<kind>-<name>) for each ConfigMap and Secret they use, so
    that a changed value rolls exactly the pods that use it.
  - A workload whose C(replicas) belong to a HorizontalPodAutoscaler carries none, but the annotation
    C(erp.platform/initial-replicas); neither the first nor a later rollout then resets the number.
author:
  - erp.platform contributors (@erp-platform)
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - erp.platform.gate
  - erp.platform.gate.attributes
attributes:
  check_mode:
    support: full
    details:
      - Everything is a dry run on the server.
      - What the server cannot judge yet (a kind that is not served, a namespace that does not exist) is reported as
        to be created.
  diff_mode:
    support: full
    details: Values of Secrets are hidden; that they change is shown.
  idempotent:
    support: full
options:
  nodes:
    description: >-
      The nodes of the graph. A cycle, an unknown dependency and an object that is described twice are refused.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      manifests:
        description: The objects, each a complete manifest with C(metadata.namespace) if its kind is namespaced.
        type: list
        elements: dict
        required: true
      depends_on:
        description: Names of the nodes that must be ready before this one starts.
        type: list
        elements: str
        default: []
      timeout_seconds:
        description: Deadline of this node, counted from its start, within that of the rollout.
        type: int
  on_failure:
    description:
      - What becomes of the nodes that are in progress when another fails.
      - With V(abandon) the rollout ends at once; they stay as they are and are reported as V(interrupted).
      - With V(finish) they are applied to their end and waited for.
      - No further node is started in either case.
    type: str
    choices: [abandon, finish]
    default: abandon
    version_added: 0.2.0
  apply_set:
    description:
      - Deletes what an earlier rollout with the same name and namespace applied and this one no longer contains.
      - It is Kubernetes' ApplySet (KEP-3659); its parent is the ConfigMap C(erp.platform-<name>).
      - Kinds that hold data (Namespace, PersistentVolumeClaim, PersistentVolume, StatefulSet,
        CustomResourceDefinition) are never deleted but reported as V(kept).
      - An object that another of our own apply sets holds moves to this one.
    type: dict
    suboptions:
      name:
        description: Name of the apply set.
        type: str
        required: true
      namespace:
        description: Namespace of its parent; it may be created by this rollout.
        type: str
        required: true
  force_conflicts:
    description:
      - Take over fields that other field managers own, and objects of another tool's apply set.
      - If V(false), they are refused, naming the field and its owner.
    type: bool
    default: false
seealso:
  - module: erp.platform.readiness_gate
"""

EXAMPLES = r"""
- name: Roll out Kafka once ZooKeeper is ready
  erp.platform.rollout:
    context: arn:aws:eks:ap-northeast-2:806332783810:cluster/erp-dev-cluster
    apply_set:
      name: infra
      namespace: erp-dev
    nodes:
      - name: zookeeper
        manifests: "{{ zookeeper_manifests }}"
      - name: kafka
        manifests: "{{ kafka_manifests }}"
        depends_on: [zookeeper]
        timeout_seconds: 300

- name: Show what a rollout would change
  erp.platform.rollout:
    nodes:
      - name: kafka
        manifests: "{{ kafka_manifests }}"
  check_mode: true
  diff: true
"""

RETURN = r"""
objects:
  description: What became of every object.
  returned: always, unless the input was refused
  type: list
  elements: dict
  contains:
    node:
      description: Node of the object; null if it was pruned or kept.
      type: str
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
      description: Name.
      type: str
    change:
      description: V(created), V(changed), V(unchanged), V(deleted) or V(kept); V(unknown) if it was not applied.
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
      description: Seconds from the start of the rollout until the object was ready.
      type: float
nodes:
  description: The nodes.
  returned: always, unless the input was refused
  type: list
  elements: dict
  contains:
    name:
      description: Name.
      type: str
    status:
      description: V(ready), V(failed), V(interrupted) or V(not started).
      type: str
    started_seconds:
      description: When it started, in seconds from the start of the rollout.
      type: float
    ready_seconds:
      description: When it was ready.
      type: float
critical_path:
  description: The chain of nodes that decided how long the rollout took.
  returned: always, unless the input was refused
  type: list
  elements: str
  sample: [zookeeper, kafka]
failures:
  description: Everything that went wrong.
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
    ROLLOUT,
    connection_options,
    invocation,
    rollout_options,
)
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.report_files import ReportFiles, concluded
from ansible_collections.erp.platform.plugins.module_utils.rollout import roll_out


def main() -> None:
    module = AnsibleModule(argument_spec=ROLLOUT, supports_check_mode=True)
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        module.fail_json(msg=missing_required_lib("kubernetes"), exception=traceback.format_exc())
    result = concluded(
        lambda: roll_out(
            connect(connection_options(module.params)),
            rollout_options(module.params, module.check_mode, module._diff),
            report=silent,
        ),
        ReportFiles.asked_for("erp.platform.rollout", module.params, module.check_mode),
        with_diff=module._diff,
    )
    module.exit_json(**result, invocation=invocation(module.params))


if __name__ == "__main__":
    main()
