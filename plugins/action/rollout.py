"""Runs the rollout on the controller, where its progress can be seen, if that is where the task runs anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.erp.platform.plugins.module_utils.arguments import ROLLOUT, connection_options, rollout_options
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.progress import Report
from ansible_collections.erp.platform.plugins.module_utils.rollout import roll_out
from ansible_collections.erp.platform.plugins.plugin_utils.live_action import LiveAction


class ActionModule(LiveAction):
    MODULE = "erp.platform.rollout"
    ARGUMENTS = ROLLOUT

    def act(self, params: Mapping[str, Any], check_mode: bool, report: Report) -> dict[str, Any]:
        options = rollout_options(params, check_mode, diff=bool(self._task.diff))
        return roll_out(connect(connection_options(params)), options, report)
