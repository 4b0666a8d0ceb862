"""Opens channels: everything in the project that talks gRPC to a server goes through here. Calls nothing.

A channel to this machine never goes through a proxy: gRPC hands even 127.0.0.1 to the one that `grpc_proxy`, `https_proxy` or
`http_proxy` names, photographs in plain text included, unless `no_proxy` says otherwise. To other machines gRPC's rule holds.
"""

from __future__ import annotations

from typing import Any

import grpc

from foveal_runtime.client.options import ClientOptions
from foveal_runtime.client.targets import spreading, target_of
from foveal_runtime.rpc.certificates import read_authorities, read_pair
from foveal_runtime.rpc.keepalive import KEEPALIVE, Keepalive
from foveal_runtime.serving.address import is_loopback

_FIRST_RECONNECT_MS, _LAST_RECONNECT_MS = 100, 2_000
"""Pauses between attempts to connect; gRPC's own grow from one second to two minutes, in which every call fails at once."""


def open_channel(address: str, options: ClientOptions | None = None, keepalive: Keepalive = KEEPALIVE) -> grpc.Channel:
    """A blocking channel; it connects on the first call.

    Raises:
        ConfigError: a TLS file can't be read, a certificate and a key do not belong together, or see `target_of`.
    """
    return _open(grpc, address, options or ClientOptions(), keepalive)


def open_aio_channel(address: str, options: ClientOptions | None = None, keepalive: Keepalive = KEEPALIVE) -> grpc.aio.Channel:
    """A channel of an event loop, otherwise as `open_channel`."""
    return _open(grpc.aio, address, options or ClientOptions(), keepalive)


def _open(maker: Any, address: str, options: ClientOptions, keepalive: Keepalive) -> Any:
    settings = channel_settings(address, options, keepalive)
    target = target_of(address, tls=options.tls_ca is not None)
    if options.tls_ca is None:
        return maker.insecure_channel(target, settings)
    roots = read_authorities(options.tls_ca, "--tls-ca")
    chain, key = None, None
    if options.tls_cert is not None and options.tls_key is not None:
        chain, key = read_pair(options.tls_cert, options.tls_key)
    return maker.secure_channel(target, grpc.ssl_channel_credentials(roots, key, chain), settings)


def channel_settings(address: str, options: ClientOptions, keepalive: Keepalive) -> list[tuple[str, Any]]:
    """gRPC's options of a channel: limits, reconnecting, pings, several servers, and no proxy on this machine."""
    proxy = [("grpc.enable_http_proxy", 0)] if is_loopback(address) else []
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", _LAST_RECONNECT_MS),
        *keepalive.client_settings(),
        *spreading(address),
        *proxy,
    ]
