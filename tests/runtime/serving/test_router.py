"""Which of several bundles answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from foveal_runtime.errors import ConfigError, InputError, LoadingError
from foveal_runtime.serving.router import Router


class Host:
    """A host by its bundle's hash alone."""

    def __init__(self, sha256: str, *, healthy: bool = True) -> None:
        self.sha256, self.healthy = sha256, healthy

    @property
    def bundle(self) -> Any:
        if not self.sha256:
            raise LoadingError("not yet")
        return SimpleNamespace(sha256=self.sha256)


DEFAULT, CANARY = Host("aa" * 32), Host("bb" * 32)


def test_the_canary_gets_exactly_its_share_of_the_calls_that_grade_and_none_of_the_others() -> None:
    router = Router(DEFAULT, canary=CANARY, canary_share=0.3)  # type: ignore[arg-type]
    routed = [router.route_grading() for _ in range(1000)]
    assert routed.count(CANARY) == pytest.approx(300, abs=1)  # type: ignore[arg-type]
    assert max(len(run) for run in "".join("c" if host is CANARY else "d" for host in routed).split("c")) <= 4
    assert router.route() is DEFAULT


def test_a_canary_that_is_not_healthy_gets_no_calls() -> None:
    router = Router(DEFAULT, canary=Host("bb" * 32, healthy=False), canary_share=1.0)  # type: ignore[arg-type]
    assert all(router.route_grading() is DEFAULT for _ in range(10))


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("default", "", DEFAULT), ("canary", "", CANARY), ("", "bb" * 4, CANARY), ("", "AAAAAAAA", DEFAULT),
        ("canary", "bb" * 32, CANARY),
    ],
)  # fmt: skip
def test_a_model_is_found_by_its_name_and_the_beginning_of_its_hash(name: str, version: str, expected: Host) -> None:
    router = Router(DEFAULT, canary=CANARY, canary_share=0.5)  # type: ignore[arg-type]
    assert router.route(name, version) is expected
    assert router.route_grading(name, version) is expected


@pytest.mark.parametrize(
    ("name", "version"), [("other", ""), ("default", "bbbbbbbb"), ("", "bbbb"), ("", "cc" * 8), ("shadow", "")]
)
def test_a_model_that_is_not_there_is_refused_with_those_that_are(name: str, version: str) -> None:
    router = Router(DEFAULT, canary=CANARY)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="default aaaaaaaaaaaa, canary bbbbbbbbbbbb"):
        router.route(name, version)


def test_a_model_that_is_still_loaded_has_no_version_yet() -> None:
    router = Router(Host(""))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="loading"):
        router.route("", "aa" * 4)


def test_an_impossible_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        Router(DEFAULT, canary=CANARY, canary_share=1.5)  # type: ignore[arg-type]
