"""How a client reaches a server: deadline, TLS, retries. Calls nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import ConfigError

DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientOptions:
    """How to reach a server."""

    timeout_s: float = 60.0
    """Deadline of every call that is no stream, over all its attempts."""
    retry_s: float = 20.0
    """How long such a call is sent again while the server is away or full, within the deadline; 0 sends it once. A server that
    has never answered this client is tried for two seconds at most."""
    tls_ca: Path | None = None
    """PEM certificates that the server's must be signed by; None with no TLS at all."""
    tls_cert: Path | None = None
    """PEM certificate of this client, for servers with --client-ca."""
    tls_key: Path | None = None
    """PEM private key of `tls_cert`."""
    token_file: Path | None = None
    """File with this client's token alone, for servers with --tokens; read again when it changes."""
    insecure: bool = False
    """Send the token in plain text to another machine."""
    max_message_bytes: int = 64 << 20
    """Largest request and answer."""
    scale_down_px: int | None = None
    """Photographs whose longer side is longer than this are scaled down and sent as JPEG of quality 95: less to send, and an
    answer that may differ in the last digits. None sends what there is."""

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.retry_s < 0:
            raise ConfigError(f"timeout is {self.timeout_s} s and retry {self.retry_s} s; want more than 0, and 0 or more")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("a client's certificate needs both --tls-cert and --tls-key; only one was given")
        if self.tls_cert is not None and self.tls_ca is None:
            raise ConfigError("--tls-cert and --tls-key without --tls-ca would be sent in plain text; give --tls-ca as well")
