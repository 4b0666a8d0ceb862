"""How long connections last: pings on quiet ones, as both ends agree on them, and when one is made anew. Opens nothing.

gRPC's own server ends a connection that pings more often than every five minutes without data ("too_many_pings").
"""

from __future__ import annotations

from dataclasses import dataclass

from foveal_runtime.errors import ConfigError

Settings = list[tuple[str, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Keepalive:
    """Pings of a connection."""

    every_s: float = 60.0
    """Silence after which an end asks whether the other is there, also between calls: a home router or a firewall forgets a
    silent connection after minutes."""
    timeout_s: float = 20.0
    """Silence after a ping that means the other end has gone; the server then drops its work."""
    least_pause_s: float = 5.0
    """Pause between two pings that the server bears without data; clients in Go and Java ping every 10 s at most."""

    renewed_after_s: float = 3600.0
    """Age, less or more a tenth, from which the server lets no new call begin on a connection, so that the client makes another
    one: its certificate is looked at again, and a name that leads to several servers is asked again. Calls and streams that
    are there end when they end."""

    def __post_init__(self) -> None:
        if not 0 < self.least_pause_s < self.every_s or self.timeout_s <= 0:
            raise ConfigError(
                f"keepalive: pings every {self.every_s} s, answered within {self.timeout_s} s, borne every "
                f"{self.least_pause_s} s; a server has to bear its own clients' pings"
            )

    def client_settings(self) -> Settings:
        """gRPC's options of a channel."""
        return [
            ("grpc.keepalive_time_ms", round(self.every_s * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.timeout_s * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),  # no limit: else gRPC stretches the pauses after two pings
        ]

    def server_settings(self) -> Settings:
        """gRPC's options of a server."""
        # The macro is called ..._MIN_RECV_PING_INTERVAL_...; its string has no "recv", and gRPC ignores names it does not know.
        bears = ("grpc.http2.min_ping_interval_without_data_ms", round(self.least_pause_s * 1000))
        return [*self.client_settings(), bears, ("grpc.max_connection_age_ms", round(self.renewed_after_s * 1000))]


KEEPALIVE = Keepalive()
"""What `foveal serve` and foveal's clients use."""
