"""An action that does a module's work on the controller and shows progress meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.plain import plain
from ansible_collections.erp.platform.plugins.module_utils.progress import Report, shown, silent
from ansible_collections.erp.platform.plugins.module_utils.report_files import ReportFiles, concluded

with suppress(ImportError):
    # The controller loads an action's file once and forks each task from there: imported here, the client costs its
    # quarter of a second once per playbook, not once per task. What is missing is said by the task that needs it.
    import_module("kubernetes")


class LiveAction(ActionBase):
    """Subclasses name the module and its argument spec, and do its work in ``act``.

    A module's output reaches people only when it ends. Where it would run on the controller, in the foreground and as
    the same user, the same core runs in this process instead; otherwise the module runs on the host as usual.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    MODULE: ClassVar[str]
    ARGUMENTS: ClassVar[Mapping[str, Any]]

    def act(self, params: Mapping[str, Any], check_mode: bool, report: Report) -> dict[str, Any]:
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._connection.transport != "local" or self._connection.become is not None or self._task.async_val:
            executed: dict[str, Any] = self._execute_module(
                module_args=self._task.args, task_vars=task_vars, wrap_async=self._task.async_val
            )
            return {**result, **executed}
        _validation, validated = self.validate_argument_spec(argument_spec=dict(self.ARGUMENTS))
        params, check_mode = plain(validated), bool(self._task.check_mode)
        report = self._report(bool(params["quiet"]), task_vars or {})

        def work() -> dict[str, Any]:
            try:
                return self.act(params, check_mode, report)
            except ImportError as error:
                raise PlatformError(
                    f"the controller's Python lacks {error.name}", next_command="install kubernetes and PyYAML for it"
                ) from error

        with _environment(self._task_environment()):
            files = ReportFiles.asked_for(self.MODULE, params, check_mode)
            result.update(concluded(work, files, with_diff=bool(self._task.diff)))
        return result

    def _report(self, quiet: bool, task_vars: Mapping[str, Any]) -> Report:
        if self._task.no_log:
            return silent
        several = len(task_vars.get("ansible_play_hosts_all") or ()) > 1
        prefix = f"[{task_vars['inventory_hostname']}] " if several else ""
        display = Display()
        return shown(display.display, display.verbosity, quiet, prefix)

    def _task_environment(self) -> dict[str, str]:
        """What ``environment:`` of the play, block and task sets; a module would get it from its shell."""
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        return {name: str(value) for name, value in environment.items()}


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
