"""How the log of `foveal serve` is written: as text or as JSON, the access log apart. Logs nothing itself.

Events of the server's life (`foveal_runtime.lifecycle`) are always written, other lines from WARNING on, with --verbose from
INFO on.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import Any

from foveal_runtime.errors import ConfigError
from foveal_runtime.lifecycle import ACCESS, LIFECYCLE
from foveal_runtime.rpc.request_id import NamesCalls

STDOUT = "-"
OURS = "foveal"


def set_up(*, as_json: bool, verbose: bool, access_log: str) -> None:
    """Write this process's log to stderr.

    Args:
        as_json: one JSON object a line, else text.
        verbose: from INFO on, and the access log's lines where that is not apart.
        access_log: file for the access log, `-` for stdout; empty has none apart.

    Raises:
        ConfigError: that file can't be written.
    """
    formatter: logging.Formatter = JsonLines() if as_json else TextLines()
    _attach(logging.getLogger(), logging.StreamHandler(sys.stderr), formatter)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger(LIFECYCLE).setLevel(logging.INFO)
    if access_log:
        access = logging.getLogger(ACCESS)
        access.setLevel(logging.INFO)
        access.propagate = False
        _attach(access, _access_handler(access_log), formatter)


def _attach(log: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    handler.addFilter(NamesCalls())
    handler.set_name(OURS)
    for each in [each for each in log.handlers if each.get_name() == OURS]:
        log.removeHandler(each)  # of a server that ran in this process before
    log.addHandler(handler)


def _access_handler(access_log: str) -> logging.Handler:
    if access_log == STDOUT:
        return logging.StreamHandler(sys.stdout)
    try:
        return AccessFile(access_log)
    except OSError as error:
        raise ConfigError(f"--access-log {access_log} can't be written ({error.strerror}); name another file") from None


class AccessFile(WatchedFileHandler):
    """A file that logrotate may move away. When it can't be written, the log says so once, and again when it can."""

    def __init__(self, path: str) -> None:
        self._failing = self._failed = False
        super().__init__(path, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_not_for_others)

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        super().emit(record)
        if self._failing and not self._failed:
            logging.getLogger(LIFECYCLE).info("the access log is written again")
        self._failing = self._failed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        self._failed, error = True, sys.exc_info()[1]
        if not self._failing:
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            logging.getLogger(LIFECYCLE).error("the access log can't be written (%s); lines are lost until it can", why)


def _not_for_others(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)


class TextLines(logging.Formatter):
    """One line a record; what others wrote can't begin another, or move a terminal's cursor."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        text = super().formatMessage(record)
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, request_id, event, message, and what an event says of itself."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
        }
        request_id = getattr(record, "request_id", "-")
        if request_id != "-":
            line["request_id"] = request_id
        event = getattr(record, "event", "")
        if event:
            line["event"] = event
        line["message"] = record.getMessage()
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
