"""Which of a server's bundles answers a call: the default one, another by name, or the canary for a share of the calls.

The default answers every call that asks for nothing else and is not in the canary's share; vectors always come from it, so that
an archive holds one space. A canary that is not healthy gets no calls. A shadow is no bundle that answers: see `shadow`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from foveal_runtime.errors import ConfigError, InputError, UnavailableError

if TYPE_CHECKING:
    from foveal_runtime.serving.host import ModelHost
    from foveal_runtime.serving.shadow import Shadow

DEFAULT, CANARY = "default", "canary"
_SHORTEST_VERSION = 8
"""Hexadecimal digits of a bundle's SHA-256 that name it at least."""


class Router:
    """The models of one server."""

    def __init__(
        self, default: ModelHost, *, canary: ModelHost | None = None, canary_share: float = 0.0, shadow: Shadow | None = None
    ) -> None:
        """Args:
        default: answers what nobody else does.
        canary: another bundle on trial; None is none.
        canary_share: of the calls that grade, 0 to 1, for the canary.
        shadow: compares the default's answers with another bundle's; None compares nothing.

        Raises:
            ConfigError: a share outside 0 to 1.
        """
        if not 0.0 <= canary_share <= 1.0:
            raise ConfigError(f"canary_share is {canary_share:g}; want 0 to 1")
        self.default = default
        self.shadow = shadow
        self._named: dict[str, ModelHost] = {DEFAULT: default} | ({} if canary is None else {CANARY: canary})
        self._share = canary_share if canary is not None else 0.0
        self._owed = 0.0
        """Calls that the canary has yet to get."""

    @property
    def named(self) -> dict[str, ModelHost]:
        """The models that answer, by name."""
        return dict(self._named)

    def hosts(self) -> Iterator[tuple[str, ModelHost]]:
        """All models that are loaded, by name, the shadow among them."""
        yield from self._named.items()
        if self.shadow is not None:
            yield "shadow", self.shadow.host

    def route(self, name: str = "", version: str = "") -> ModelHost:
        """The model that was asked for; without a name the default.

        Args:
            name: `default`, `canary`, or empty.
            version: the beginning of the bundle's SHA-256, 8 hexadecimal digits at least; empty is any.

        Raises:
            InputError: this server has no such model.
        """
        if not name and not version:
            return self.default
        known = {known: host for known, host in self._named.items() if name in ("", known)}
        if version:
            fit = len(version) >= _SHORTEST_VERSION
            known = {known: host for known, host in known.items() if fit and _sha256(host).startswith(version.lower())}
        if not known:
            have = ", ".join(f"{name} {_sha256(host)[:12] or '(loading)'}" for name, host in self._named.items())
            raise InputError(f"x-foveal-model and x-foveal-version name no model of this server; it has {have}")
        return next(iter(known.values()))

    def route_grading(self, name: str = "", version: str = "") -> ModelHost:
        """`route` for a call that grades and asks for no vectors: the canary's share goes to the canary."""
        if name or version or not self._share:
            return self.route(name, version)
        self._owed += self._share
        if self._owed < 1.0:
            return self.default
        self._owed -= 1.0
        canary = self._named[CANARY]
        return canary if canary.healthy else self.default


def _sha256(host: ModelHost) -> str:
    try:
        return host.bundle.sha256
    except UnavailableError:
        return ""
