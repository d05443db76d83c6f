"""Threads that carry out one tenant's jobs: as many as are busy at once, and fewer when there is less to do.

The rule: a job is handed over under the owner's lock, and done without it.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """A pool of threads. All but the jobs themselves happens while the owner's ``lock`` is held.

    ``start_thread`` starts one with a body; ``work`` does a job; ``idle`` is called each time that a worker has
    become free. A worker without work leaves after ``idle_seconds``.
    """

    def __init__(
        self,
        lock: threading.Condition,
        *,
        most: int,
        start_thread: Callable[[Callable[[], None]], None],
        work: Callable[[T], None],
        idle: Callable[[], None],
        idle_seconds: float,
    ) -> None:
        self.most = most
        self._lock = lock
        self._start_thread = start_thread
        self._do = work
        self._became_idle = idle
        self._idle_seconds = idle_seconds
        self._idle: list[SimpleQueue[T | None]] = []
        self._count = 0
        self._stopping = False

    @property
    def have_room(self) -> bool:
        """Whether another job can be taken."""
        return bool(self._idle) or self._count < self.most

    def take(self, job: T) -> None:
        """Hand a job to the worker that was busy last, or to a new one if all are busy.

        Raises RuntimeError where the process has as many threads as it may.
        """
        if self._idle:
            self._idle.pop().put(job)
            return
        self._start_thread(lambda: self._work(job))
        self._count += 1

    def stop(self) -> None:
        """Let idle workers go, and the others after their job."""
        self._stopping = True
        for inbox in self._idle:
            inbox.put(None)
        self._idle.clear()

    def _work(self, job: T | None) -> None:
        """Do a job, wait for the next, and leave when none comes for a while."""
        inbox: SimpleQueue[T | None] = SimpleQueue()
        while job is not None:
            self._do(job)
            with self._lock:
                if self._stopping:
                    break
                self._idle.append(inbox)
                self._became_idle()
            job = self._next(inbox)

    def _next(self, inbox: "SimpleQueue[T | None]") -> T | None:
        try:
            return inbox.get(timeout=self._idle_seconds)
        except Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    self._count -= 1
                    return None
            return inbox.get()  # It was handed a job in just that moment.
