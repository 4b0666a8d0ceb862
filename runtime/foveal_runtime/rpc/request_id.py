"""One name for one call, in every log line that it causes and in its answer: the caller's `x-request-id`, or one made here.

The caller's is taken when it is a plain word: what is written into a log must not be able to forge a line of it.
"""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar
from typing import Any

KEY = "x-request-id"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_current: ContextVar[str] = ContextVar("foveal_request_id", default="-")


async def begin(context: Any) -> str:
    """Name the call that runs from here on, and tell its caller the name.

    Args:
        context: of the call, before anything was answered.
    """
    given = next((value for key, value in context.invocation_metadata() or () if key == KEY), "")
    name = given if isinstance(given, str) and _PLAIN.fullmatch(given) else uuid.uuid4().hex
    _current.set(name)
    await context.send_initial_metadata(((KEY, name),))
    return name


def current() -> str:
    """The name of the call that runs; `-` outside of calls."""
    return _current.get()


class NamesCalls(logging.Filter):
    """Gives every record the name of its call, as `request_id` for the format."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds and drops nothing."""
        record.request_id = _current.get()
        return True
