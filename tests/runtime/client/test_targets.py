"""Which servers an address names, and what gRPC is told of several."""

from __future__ import annotations

import json

import pytest

from foveal_runtime.client.channel import channel_settings
from foveal_runtime.client.options import ClientOptions
from foveal_runtime.client.targets import names_several, target_of
from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.keepalive import KEEPALIVE


@pytest.mark.parametrize(
    ("address", "target", "several"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("clinic.example:50051", "clinic.example:50051", False),
        ("unix:/run/foveal.sock", "unix:/run/foveal.sock", False),
        ("dns:///clinic.example:50051", "dns:///clinic.example:50051", True),
        ("10.0.0.1:1, 10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2", True),
        ("[::1]:1,[::1]:2", "ipv6:[::1]:1,[::1]:2", True),
    ],
)
def test_one_server_is_asked_and_several_are_spread_over(address: str, target: str, several: bool) -> None:
    assert target_of(address, tls=False) == target
    assert names_several(address) is several
    settings = dict(channel_settings(address, ClientOptions(), KEEPALIVE))
    assert ("grpc.service_config" in settings) is several
    if several:
        assert json.loads(settings["grpc.service_config"])["loadBalancingConfig"] == [{"round_robin": {}}]


@pytest.mark.parametrize(
    ("address", "tls", "says"),
    [
        ("one.example:1,two.example:2", False, "no IP:PORT"),
        ("10.0.0.1:1,", False, "no IP:PORT"),
        ("10.0.0.1:1,[::1]:2", False, "mixes IPv4 and IPv6"),
        ("10.0.0.1:1,10.0.0.2:2", True, "all certificates have"),
    ],
)
def test_a_list_that_gRPC_would_not_read_says_how_to_name_the_servers(address: str, tls: bool, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        target_of(address, tls=tls)
    assert "dns:///NAME:PORT" in str(refused.value)
