"""What becomes of a server, as events of its log: named, at INFO or above, written whether or not anybody asked for more.

Says what happened and formats nothing: `cli.logs` does. Holds no value of a caller.
"""

from __future__ import annotations

import logging
from enum import StrEnum

LIFECYCLE, ACCESS = "foveal.lifecycle", "foveal.access"
"""Names of the logs."""


class Event(StrEnum):
    """What can happen; the word is the `event` of a log line."""

    START = "start"
    FAILED = "failed"
    """The server could not start."""
    SERVING = "serving"
    """A bundle is served: the first one."""
    UPGRADED = "upgraded"
    """Another bundle is served than before."""
    ROLLED_BACK = "rolled_back"
    """A bundle is served again that was served before another."""
    REFUSED = "refused"
    """A bundle was to be served and is not."""
    SELF_TEST_FAILED = "self_test_failed"
    SELF_TEST_PASSED = "self_test_passed"
    """After one that failed."""
    WORKER_LOST = "worker_lost"
    WORKER_RESTARTED = "worker_restarted"
    STORE_LOST = "store_lost"
    STORE_BACK = "store_back"
    REPLICA_LOST = "replica_lost"
    """A standby of the store's answers no searches: it is away, behind or unfit. The owner answers them."""
    REPLICA_BACK = "replica_back"
    PATIENT_KEY_MADE = "patient_key_made"
    AUDIT_LOST = "audit_lost"
    """The trail can't be written: the disk is full, or can't be written."""
    AUDIT_BACK = "audit_back"
    AUDIT_TORN = "audit_torn"
    """An unfinished record of a crash was cut off."""
    AUDIT_SEGMENT = "audit_segment"
    DRIFT_STARTED = "drift_started"
    """A camera's photographs are no longer what they were (`foveal drift`)."""
    DRIFT_ENDED = "drift_ended"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CALL = "call"
    """One call ended, in the access log."""


def tell(event: Event, message: str, *, level: int = logging.INFO, log: str = LIFECYCLE, **facts: str | float | bool) -> None:
    """Log an event.

    Args:
        event: what happened.
        message: the same in words.
        level: of `logging`.
        log: which log.
        facts: of it, as a JSON line has them beside the message; no value of a caller.
    """
    logging.getLogger(log).log(level, "%s", message, extra={"event": event.value, "facts": facts})
