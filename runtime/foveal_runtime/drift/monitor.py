"""All cameras of a running server: counts what was graded, tells alarms in the log, and keeps the counts. Knows no protobuf."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal_runtime.drift import folder as files
from foveal_runtime.drift.signals import GRID, reading_of
from foveal_runtime.drift.stream import BUNDLE, Served, Stream, camera_of
from foveal_runtime.drift.watch import Change
from foveal_runtime.lifecycle import Event, tell
from foveal_runtime.photo.quality import shipped_check

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.manifest import Manifest
    from foveal_runtime.engine.answers import Outcome
    from foveal_runtime.engine.grading import Grades

log = logging.getLogger(__name__)

SAVE_EVERY_S = 10.0
MOST_CAMERAS = 64
"""That are told apart; the photographs of further ones are counted together."""
OTHERS = "others"
"""Name of the cameras beyond `MOST_CAMERAS`."""


class DriftMonitor:
    """See the module. Lives on one event loop; `streams` may be read from other threads."""

    def __init__(
        self,
        folder: Path,
        *,
        min_gradable: float | None = None,
        rng: np.random.Generator | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Args:
            folder: where the counts are kept, of this server alone.
            min_gradable: the server's threshold of the gradability check; None is the check's own.
            rng: breaks ties.
            clock: the time now, UTC.

        Raises:
            ConfigError: the folder can't be written, or another server writes it.
            InputError: a file of it is none of ours.
        """
        self._folder = folder
        self._lock = files.own(folder)
        try:
            self.streams = {stream.camera: stream for stream in files.read(folder)}
        except BaseException:
            os.close(self._lock)
            raise
        self._gradability = f"{shipped_check().identity} {'' if min_gradable is None else repr(min_gradable)}".strip()
        self._rng = np.random.default_rng() if rng is None else rng
        self._clock = clock
        self._changed: set[str] = set()
        self._saved = set(self.streams)
        self._failed = ""

    def graded(self, bundle: Bundle, outcome: Outcome, grades: Grades | None, caller: str = "") -> None:
        """Count an answer that was computed and not taken from the cache.

        Args:
            bundle: that answered.
            outcome: of the engine.
            grades: None where the photograph can't be graded.
            caller: name of the token that was shown; empty where none is asked for.
        """
        reading = reading_of(outcome, grades, bundle.manifest)
        if reading is None:
            return
        stream = self._stream(camera_of(reading.device, caller), bundle.sha256, bundle.manifest)
        for reference, change in stream.add(reading, self._clock(), self._rng):
            _tell(stream, reference, change)
        self._changed.add(stream.camera)

    def _stream(self, camera: str, sha256: str, manifest: Manifest) -> Stream:
        if camera not in self.streams and len(self.streams) >= MOST_CAMERAS:
            camera = OTHERS
        found = self.streams.get(camera)
        if found is None or found.served.bundle_sha256 != sha256 or found.served.gradability != self._gradability:
            held_out = manifest.held_out
            served = Served(
                bundle_sha256=sha256,
                gradability=self._gradability,
                held_out=held_out if held_out is not None and held_out.grid == GRID else None,
            )
            if found is None:
                found = self.streams[camera] = Stream(camera, served)
            else:
                found.serve(served)
        return found

    async def keep(self) -> None:
        """Write what has changed now and then, for ever."""
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Write what has changed; what can't be written is told in the log and kept in memory."""
        for camera in await asyncio.to_thread(self._gone):
            # `foveal drift forget`: from here on it is a new camera.
            self.streams.pop(camera, None)
            self._changed.discard(camera)
            self._saved.discard(camera)
        documents = [self.streams[camera].document() for camera in sorted(self._changed)]
        self._changed.clear()
        try:
            await asyncio.to_thread(self._write, documents)
        except OSError as error:
            self._changed |= {document["camera"] for document in documents}
            if not self._failed:
                log.warning("counts of drift can't be kept: %s", error.strerror)
            self._failed = error.strerror or type(error).__name__
        else:
            self._saved |= {document["camera"] for document in documents}
            self._failed = ""

    def _gone(self) -> list[str]:
        return [camera for camera in self._saved if not files.path_of(self._folder, camera).exists()]

    def _write(self, documents: list[dict[str, Any]]) -> None:
        for document in documents:
            files.write(self._folder, document)

    async def close(self) -> None:
        """Write what has changed, and let others write."""
        await self.save()
        os.close(self._lock)


def _tell(stream: Stream, reference: str, change: Change) -> None:
    alarm = change.alarm
    facts: dict[str, Any] = {"camera": stream.camera, "reference": reference, "signals": ",".join(alarm.signals)}
    what = "those that the bundle was judged on" if reference == BUNDLE else "this camera's own before"
    if change.started:
        message = (
            f"camera {stream.camera}: photographs differ from {what} in {', '.join(alarm.signals)}; "
            "foveal drift report shows since when"
        )
        tell(Event.DRIFT_STARTED, message, level=logging.WARNING, photographs=alarm.photographs, **facts)
    else:
        message = f"camera {stream.camera}: photographs no longer differ from {what}"
        tell(Event.DRIFT_ENDED, message, photographs=stream.photographs, since=alarm.since, **facts)
