"""Runs the readiness gate on the controller, where its progress can be seen, if that is where the task runs anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.erp.platform.plugins.module_utils.arguments import (
    READINESS_GATE,
    connection_options,
    readiness_gate_options,
)
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.progress import Report
from ansible_collections.erp.platform.plugins.module_utils.readiness import wait_until_ready
from ansible_collections.erp.platform.plugins.plugin_utils.live_action import LiveAction


class ActionModule(LiveAction):
    MODULE = "erp.platform.readiness_gate"
    ARGUMENTS = READINESS_GATE

    def act(self, params: Mapping[str, Any], check_mode: bool, report: Report) -> dict[str, Any]:
        return wait_until_ready(connect(connection_options(params)), readiness_gate_options(params, check_mode), report)
