"""An application as a process: it is served until a signal ends it, and deployed again when its bundle is another one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from foveal_runtime.cluster.application import NAME, Application, application
from foveal_runtime.errors import FovealError
from foveal_runtime.lifecycle import Event, tell
from foveal_runtime.serving.history import History

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.cluster.options import RayOptions
    from foveal_runtime.serving.config import ServeConfig

_LOOK_EVERY_S = 2.0


class _Ended(BaseException):
    """SIGTERM or SIGINT came."""


def run(config: ServeConfig, options: RayOptions, announce: Callable[[Application, Bundle], None]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP, or pointing a symbolic link elsewhere, deploys the bundle that is there then.

    Args:
        config: as of `foveal serve`.
        options: of the cluster.
        announce: called once calls are answered.

    Raises:
        FovealError: see `application` and `Application.deploy`.
    """
    again = threading.Event()
    try:
        with application(config, options) as served, _signals(again):
            bundle = served.deploy()
            announce(served, bundle)
            history = History()
            history.add(bundle)
            history.begin(NAME, bundle)
            _replace_for_ever(served, history, again)
    except _Ended:
        tell(Event.STOPPED, "stopped")


def _replace_for_ever(served: Application, history: History, again: threading.Event) -> None:
    named = os.path.realpath(served.config.bundle)
    while True:
        asked = again.wait(_LOOK_EVERY_S)
        again.clear()
        found = os.path.realpath(served.config.bundle)
        if not asked and found == named:
            continue
        named = found
        try:
            bundle = served.deploy()
        except FovealError as error:
            history.refused(error)
        else:
            history.add(bundle)


@contextmanager
def _signals(again: threading.Event) -> Iterator[None]:
    """Signals as `run` wants them: Ray has handlers of its own, which end the process at once."""

    def end(number: int, frame: Any) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        tell(Event.STOPPING, "stopping: finishing what was accepted")
        raise _Ended

    before = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda number, frame: again.set())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
