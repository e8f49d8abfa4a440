"""An action that does a module's work on the controller and shows progress meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.plain import plain


class LiveAction(ActionBase):
    """Subclasses name the module's argument spec and do its work in ``act``.

    A module's output reaches people only when it ends. Where the connection is local and the task isn't asynchronous,
    the same core runs in this process instead; otherwise the module runs on the host as usual.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    ARGUMENTS: ClassVar[Mapping[str, Any]]

    def act(self, params: Mapping[str, Any], check_mode: bool, report: Callable[[str], None]) -> dict[str, Any]:
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._connection.transport != "local" or self._task.async_val:
            executed: dict[str, Any] = self._execute_module(
                module_args=self._task.args, task_vars=task_vars, wrap_async=self._task.async_val
            )
            return {**result, **executed}
        _validation, params = self.validate_argument_spec(argument_spec=dict(self.ARGUMENTS))
        try:
            with _environment(self._task_environment()):
                result.update(self.act(plain(params), bool(self._task.check_mode), Display().display))
        except ImportError as error:
            result.update(
                failed=True, msg=f"the controller's Python lacks {error.name}: install kubernetes and PyYAML for it"
            )
        except PlatformError as error:
            result.update(failed=True, **error.as_result())
        if not self._task.diff:
            result.pop("diff", None)
        return result

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
