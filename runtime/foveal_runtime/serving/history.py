"""Which bundles one host has served, so that an upgrade is told from a roll-back, in the log and to who asks. Loads nothing."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from foveal_runtime.lifecycle import Event, tell

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.errors import FovealError

_REMEMBERED = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What became of a bundle."""

    at: datetime
    """UTC."""
    event: Event
    bundle_sha256: str
    """Of what is served from then on; of `REFUSED`, of what stayed, or empty where nothing was served yet."""
    reason: str = ""
    """Of `REFUSED`."""


class History:
    """SHA-256 of the bundles that were served, the last one last, and what became of them."""

    def __init__(self) -> None:
        self._served: list[str] = []
        self._name = ""
        self.changes: deque[Change] = deque(maxlen=_REMEMBERED)
        """The latest last."""

    def begin(self, name: str, bundle: Bundle) -> None:
        """Log what is served at the start.

        Args:
            name: of the host, as the router has it.
            bundle: the first one.
        """
        self._name = name
        self._tell(Event.SERVING, f"bundle {bundle.sha256[:12]} is served", bundle)

    def add(self, bundle: Bundle) -> None:
        """A bundle is served from now on; it is logged once `begin` was called."""
        sha256, before = bundle.sha256, self._served[-1] if self._served else ""
        event, text = Event.SERVING, f"now serving bundle {sha256[:12]}"
        if before and sha256 != before:
            event = Event.ROLLED_BACK if sha256 in self._served else Event.UPGRADED
            text += f" {'again, ' if event is Event.ROLLED_BACK else ''}in place of {before[:12]}"
        self._served = [*[each for each in self._served if each != sha256][-_REMEMBERED:], sha256]
        self._changed(event, sha256)
        if self._name:
            self._tell(event, text, bundle, before_sha256=before)

    def refused(self, error: FovealError) -> None:
        """A bundle was to be served and is not; the one before goes on."""
        tell(Event.REFUSED, f"new bundle is not served, the old one is kept: {error}", level=logging.ERROR)
        self._changed(Event.REFUSED, self._served[-1] if self._served else "", str(error))

    def _changed(self, event: Event, sha256: str, reason: str = "") -> None:
        self.changes.append(Change(at=datetime.now(UTC), event=event, bundle_sha256=sha256, reason=reason))

    def _tell(self, event: Event, text: str, bundle: Bundle, before_sha256: str = "") -> None:
        manifest = bundle.manifest
        tell(
            event,
            f"{text} as {self._name} ({manifest.profile} {manifest.precision.value})",
            model=self._name,
            bundle_sha256=bundle.sha256,
            before_sha256=before_sha256,
            signature_verified=bundle.is_verified,
        )
