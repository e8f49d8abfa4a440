"""A few threads that make requests.

``ThreadPoolExecutor`` is not used: at the end of a process Python joins its threads, so that one request which never
returns would hold up the end of a run for its whole read timeout.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """``count`` daemon threads; jobs that were not begun when ``close`` is called are dropped."""

    def __init__(self, count: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._count = count
        self._threads = 0
        self._closed = threading.Event()

    def submit(self, job: Callable[[], None]) -> None:
        """Run the job in a thread; it must not raise."""
        self._jobs.put(job)
        if self._threads < self._count:
            self._threads += 1
            threading.Thread(target=self._run, name=f"request {self._threads}", daemon=True).start()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results in the order of the items; the first exception is raised."""
        done: queue.SimpleQueue[tuple[int, Result | None, Exception | None]] = queue.SimpleQueue()
        count = 0
        for index, item in enumerate(items):
            count += 1
            self.submit(_reporting(function, item, index, done))
        results: dict[int, Result] = {}
        for _answer in range(count):
            index, result, error = done.get()
            if error is not None:
                raise error
            results[index] = result  # type: ignore[assignment]  # a Result unless there was an error
        return [results[index] for index in sorted(results)]

    def close(self) -> None:
        self._closed.set()
        for _thread in range(self._threads):
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed.is_set():
            job()


def _reporting(
    function: Callable[[Item], Result],
    item: Item,
    index: int,
    done: queue.SimpleQueue[tuple[int, Result | None, Exception | None]],
) -> Callable[[], None]:
    def job() -> None:
        try:
            done.put((index, function(item), None))
        except Exception as error:  # noqa: BLE001 - handed to the caller of map
            done.put((index, None, error))

    return job
