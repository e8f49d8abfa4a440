"""Options and attributes that rollout and readiness_gate share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  timeout_seconds:
    description: The deadline for everything, in seconds.
    type: int
    default: 600
  fail_fast:
    description:
      - When to give up before the deadline.
      - What cannot heal by itself (an image that does not exist, a quota that is used up, a Secret that is missing)
        ends the waiting at once; what may heal gets a grace.
    type: dict
    default: {}
    suboptions:
      enabled:
        description: >-
          Whether to look for such causes at all. If V(false), only an object's own status can end the waiting early.
        type: bool
        default: true
      crash_loop_restarts:
        description: A container that is in C(CrashLoopBackOff) and was restarted this often has failed.
        type: int
        default: 2
      image_pull_seconds:
        description: >-
          How long pulling an image may keep failing for a reason that may pass, such as a registry that is
          unreachable.
        type: int
        default: 60
      unschedulable_seconds:
        description: How long a pod may stay without a node that can take it.
        type: int
        default: 60
  node_autoscaling:
    description: >-
      Whether a node autoscaler adds nodes to this cluster. If V(true), a pod without a node is waited for until the
      deadline.
    type: bool
    default: false
  quiet:
    description:
      - Whether to show only what became ready or failed, or is no longer ready.
      - If V(false), every change of state is shown, and with C(-v) also what explains the wait.
    type: bool
    default: false
    version_added: 0.2.0
  report:
    description:
      - Files to write the result to on the host where the task runs, whether it succeeds or fails.
      - Their folders must exist; that they can be written is tried before anything else.
      - They are replaced as a whole. Hosts that run on one machine need paths of their own.
      - In check mode nothing is written.
    type: dict
    version_added: 0.2.0
    suboptions:
      junit_path:
        description: >-
          JUnit XML for the test view of a CI server. One test case per object, which fails with the cause, the
          evidence and the next command, or is skipped if the task ended before the object was decided.
        type: path
      json_path:
        description: The result as JSON.
        type: path
requirements:
  - kubernetes >= 31
  - PyYAML >= 6
notes:
  - On a host whose connection is V(local) it runs on the controller and shows a line whenever the state of an object
    changes, after the name of the host if the play has several. With C(no_log) it shows none.
  - Elsewhere, asynchronously, or as another user (C(become)) it runs as an ordinary module and reports at its
    end.
"""

    ATTRIBUTES = r"""
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
  idempotent:
    description: >-
      When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
  action_group:
    description: Use C(group/erp.platform.kubernetes) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - erp.platform.kubernetes
"""
