"""The web configuration file while the exporter runs: what it says is in force, and a change takes no restart.

The rule: it is taken up as a whole, with the certificates that it names, or what runs goes on.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from structlog.typing import FilteringBoundLogger

from exporter.config.web import WebConfigurationError, WebSettings, load_web
from exporter.files import Fingerprint, Settling, fingerprint, shown
from exporter.web.passwords import Passwords
from exporter.web.policy import Policy
from exporter.web.token_bucket import TokenBucket


class _Loaded(NamedTuple):
    """A policy, and what it was made from."""

    policy: Policy
    settings: WebSettings


class WebFile:
    """A web configuration file and the policy that is made of it.

    It is loaded at once: raise ConfigurationError if it cannot be used. ``result`` hears after each attempt
    whether the file, as it is, is in force. What comes from a pipe is never read again, and stays in force.
    """

    def __init__(
        self, path: Path, *, log: FilteringBoundLogger, result: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._path = path
        self._log = log
        self._result = result
        self._running = _made_of(load_web(path), _Loaded(Policy(), WebSettings(path=path)))
        self._watch(self._running.settings.files)
        self._told: list[str] = []
        self._lock = threading.Lock()
        self._stopped = False
        # Of those that were replaced, whoever still waits for one keeps it here.
        self._checking = WeakSet(filter(None, [self.policy.passwords]))
        self._result(True)  # noqa: FBT003 - what a gauge takes

    @property
    def policy(self) -> Policy:
        """What is in force."""
        return self._running.policy

    def reload(self) -> list[str]:
        """Load the file and take it up, or return what is wrong with it: it is logged, and what runs is kept."""
        return self._load(told=[])

    def look(self) -> None:
        """Load the file if it or one that it names has changed; again and again while it cannot be used.

        What keeps it from being used may be over without a trace in the files: the process had no file handle
        left, or a network file system did not answer.
        """
        changed = self._settling.look({path: fingerprint(path) for path in self._files})
        if changed or (self._told and not self._settling.moving):
            self._load(told=self._told)

    def stop(self) -> None:
        """Check no more passwords, and take up nothing. For the thread of those who wait for them."""
        with self._lock:
            self._stopped = True
            checking = list(self._checking)
        for passwords in checking:
            passwords.stop()

    def _load(self, *, told: list[str]) -> list[str]:
        try:
            loaded = _made_of(load_web(self._path, again=True), self._running)
        except WebConfigurationError as error:
            self._told = error.problems
            self._watch(error.files)
            self._result(False)  # noqa: FBT003 - as above
            for problem in error.problems:
                if problem not in told:
                    self._log.error("web configuration not loaded, what runs is kept", problem=problem)
            return error.problems
        except Exception:
            self._told = []  # A defect is met again when something has changed, and not at each look.
            self._result(False)  # noqa: FBT003 - as above
            raise
        self._take_up(loaded)
        return []

    def _take_up(self, loaded: _Loaded) -> None:
        renewed = loaded.policy is not self._running.policy
        with self._lock:
            if self._stopped:
                return
            if loaded.policy.passwords is not None:
                self._checking.add(loaded.policy.passwords)
            self._running = loaded
        self._watch(loaded.settings.files)
        if renewed or self._told:
            self._log.info("web configuration loaded anew", file=shown(self._path))
        self._told = []
        self._result(True)  # noqa: FBT003 - as above

    def _watch(self, files: Mapping[Path, Fingerprint | None]) -> None:
        """Look at these from now on: whatever the last attempt was about, as it was then."""
        self._files = files
        self._settling = Settling(files)


def _made_of(settings: WebSettings, running: _Loaded) -> _Loaded:
    """Make a policy; what has not changed is taken over, with what it remembers and whom it serves."""
    policy, before = running
    if settings == before:
        return _Loaded(policy, settings)
    tls, users, limit = settings.tls, settings.users, settings.rate_limit
    context, passwords, bucket = policy.context, policy.passwords, policy.limit
    if tls != before.tls:
        context = settings.context
    if users != before.users:
        passwords = Passwords(users) if users else None
    if limit != before.rate_limit:
        bucket = TokenBucket(limit.interval_seconds, limit.burst) if limit is not None else None
    allowed_sans = tls.allowed_sans if tls is not None else frozenset()
    made = Policy(
        context=context,
        allowed_sans=allowed_sans,
        headers=settings.headers,
        passwords=passwords,
        limit=bucket,
    )
    return _Loaded(made, settings)
