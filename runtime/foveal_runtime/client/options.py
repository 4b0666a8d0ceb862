"""How a client reaches a server: deadline, TLS, retries, as gRPC's own settings. Calls nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from foveal_runtime.errors import ConfigError

DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientOptions:
    """How to reach a server."""

    timeout_s: float = 60.0
    """Deadline of every call that is no stream."""
    tls_ca: Path | None = None
    """PEM certificates that the server's must be signed by; None with no TLS at all."""
    tls_cert: Path | None = None
    """PEM certificate of this client, for servers with --client-ca."""
    tls_key: Path | None = None
    max_message_bytes: int = 64 << 20
    scale_down_px: int | None = None
    """Photographs whose longer side is longer than this are scaled down and sent as JPEG of quality 95: less to send, and an
    answer that may differ in the last digits. None sends what there is."""


def channel_options(options: ClientOptions) -> list[tuple[str, Any]]:
    """Limits, retries and keep-alive of a channel."""
    policy = {
        "methodConfig": [
            {
                "name": [{"service": f"foveal.v1.{name}"} for name in ("Screening", "Archive", "Admin")],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.service_config", json.dumps(policy)),
        ("grpc.keepalive_time_ms", 60_000),
    ]


def channel_credentials(options: ClientOptions) -> Any:
    """TLS of a channel; None for plain text.

    Raises:
        ConfigError: a file can't be read.
    """
    try:
        roots, cert, key = (
            path.read_bytes() if path is not None else None for path in (options.tls_ca, options.tls_cert, options.tls_key)
        )
    except OSError as error:
        raise ConfigError(f"TLS file can't be read ({error}); check --tls-ca, --tls-cert and --tls-key") from None
    return None if roots is None else grpc.ssl_channel_credentials(roots, key, cert)
