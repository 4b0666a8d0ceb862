"""Settings of a server: which were chosen by somebody, and what other machines may reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.errors import ConfigError
from foveal_runtime.serving.config import ServeConfig
from foveal_runtime.serving.settings import read_config


@pytest.mark.parametrize(
    ("text", "flags", "chosen"),
    [
        ("", {}, False),
        ('collection = "clinic"\n[queue]\nmax_studies = 64\n[batch]\nworker_timeout_s = 20', {}, False),
        ("workers = 2", {}, True),
        ("threads = 1", {}, True),
        ("[batch]\nmax_studies = 4", {}, True),
        ("", {"threads": 1}, True),
        ("", {"max_batch": 8}, True),
        ("", {"address": "127.0.0.1:0"}, False),
    ],
)
def test_a_file_that_names_none_of_what_is_measured_leaves_the_plan_alone(
    tmp_path: Path, text: str, flags: dict[str, Any], chosen: bool
) -> None:
    (tmp_path / "serve.toml").write_text(text)
    assert read_config(tmp_path / "serve.toml", {"bundle": Path("b"), **flags}).chosen is chosen


def test_each_flag_allows_one_kind_of_evidence() -> None:
    given = {
        (unverified, untrained): ServeConfig(bundle=Path("b"), allow_unverified=unverified, allow_untrained=untrained).given
        for unverified in (False, True)
        for untrained in (False, True)
    }
    assert given[False, False] == {Evidence.PROVEN}
    assert given[True, False] == {Evidence.PROVEN, Evidence.UNVERIFIED}
    assert given[False, True] == {Evidence.PROVEN, Evidence.CHANCE}


def test_the_clinics_threshold_may_stand_in_the_file_and_a_flag_wins(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text('bundle = "b"\nquality = "clinic.json"')
    assert read_config(tmp_path / "serve.toml", {}).quality == Path("clinic.json")
    assert read_config(tmp_path / "serve.toml", {"quality": Path("other.json")}).quality == Path("other.json")
    assert ServeConfig(bundle=Path("b")).quality is None


def test_other_machines_are_served_signed_bundles_alone_unless_somebody_says_otherwise() -> None:
    own: dict[str, Any] = {"bundle": Path("b"), "insecure": True}
    for address in ("0.0.0.0:1", "[::]:1", "10.0.0.7:1", "eye.clinic:1"):
        with pytest.raises(ConfigError, match=r"--require-signature.*--allow-unsigned"):
            ServeConfig(address=address, **own)
        assert ServeConfig(address=address, **own, allow_unsigned=True).allow_unsigned
        assert ServeConfig(address=address, **own, require_signature=Path("signing.pub")).require_signature


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.10:1", "localhost:1", "[::1]:1", "unix:/run/foveal/foveal.sock"])
def test_addresses_of_this_machine_need_neither_tls_nor_a_signature(address: str) -> None:
    assert ServeConfig(bundle=Path("b"), address=address).address == address


def test_metrics_for_other_machines_need_the_word_that_plain_text_needs() -> None:
    with pytest.raises(ConfigError, match=r"metrics on 0\.0\.0\.0:9 .* --insecure"):
        ServeConfig(bundle=Path("b"), metrics="0.0.0.0:9")
    assert ServeConfig(bundle=Path("b"), metrics="0.0.0.0:9", insecure=True).metrics
    assert ServeConfig(bundle=Path("b"), metrics="127.0.0.9:9").metrics
    with pytest.raises(ConfigError, match="give HOST:PORT"):
        ServeConfig(bundle=Path("b"), metrics="unix:/run/metrics")
