"""Which web pages may call: the server's own, and those that its settings name. Programs send no origin and are not asked.

A page of anywhere can have a browser send a form to 127.0.0.1, or lead its own name there (DNS rebinding). So a request's
`Origin` has to be the address it was sent to, and on loopback its `Host` has to be this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from foveal_runtime.serving.address import host_and_port, is_loopback


class Origins:
    """Of one server."""

    def __init__(self, address: str, origins: Sequence[str]) -> None:
        """Args:
        address: HOST:PORT that is listened on.
        origins: whose pages may call beside the server's own, as `https://foveal.clinic.example`.
        """
        self._known = frozenset(origins)
        self._hosts = frozenset(_host(origin) for origin in origins)
        self._local = is_loopback(address)

    def refusal(self, scheme: str, headers: dict[str, str]) -> str:
        """Why a request is refused; empty where it is not.

        Args:
            scheme: http or https.
            headers: of the request, by lower-case name.
        """
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if host and self._local and not is_loopback(host) and host_and_port(host)[0].lower() not in self._hosts:
            return "the host is none of this machine's names; call 127.0.0.1, or set http_origins to the proxy's origin"
        if origin and origin != f"{scheme}://{host}" and origin not in self._known:
            return "the page is of another origin; set http_origins to it where it may call"
        return ""


def _host(origin: str) -> str:
    return (urlsplit(origin).hostname or "").lower()
