"""Looking after a server: self-test, reload, status. A service of its own, so that it can be guarded apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from servers import RunningServer

from foveal_runtime._proto import admin_pb2, screening_pb2
from foveal_runtime.client import Client
from foveal_runtime.errors import FovealError
from foveal_runtime.study.study import Study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    (folder / "current").symlink_to(write_bundle(folder / "first"))
    with RunningServer(folder / "current") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


def test_the_self_test_replays_the_golden_studies(client: Client) -> None:
    report = client.self_test()
    assert report.passed
    assert report.studies == 7


def test_nothing_that_looks_after_the_server_is_a_call_of_screening() -> None:
    screening = {method.name for method in screening_pb2.DESCRIPTOR.services_by_name["Screening"].methods}
    admin = {method.name for method in admin_pb2.DESCRIPTOR.services_by_name["Admin"].methods}
    assert admin == {"SelfTest", "Reload", "GetStatus", "GetDrift"}
    assert not screening & admin


def test_the_status_tells_each_part_and_the_workers(client: Client) -> None:
    status = client.status()
    assert status.screening == admin_pb2.SERVING_STATE_SERVING
    assert status.archive == admin_pb2.SERVING_STATE_ABSENT
    assert (status.workers_ready, status.workers_wanted, status.workers_lost) == (1, 1, 0)
    assert (status.reason, status.self_test_passed) == ("", True)
    assert status.model == client.model().model
    (loaded,) = status.models
    assert (loaded.name, loaded.model, loaded.healthy) == ("default", status.model, True)
    assert (status.last_self_test.studies, status.last_self_test.model) == (7, status.model)
    assert 0 <= status.self_test_age_s <= status.uptime_s
    assert not status.HasField("certificate")
    (first,) = status.history
    assert (first.name, first.event) == ("default", admin_pb2.BUNDLE_EVENT_SERVING)
    assert abs((datetime.fromisoformat(first.at) - datetime.now(UTC)).total_seconds()) < 600


def test_the_status_tells_how_long_the_latest_calls_took(client: Client) -> None:
    before = client.status().latency.calls
    for seed in range(3):
        client.grade([Study(image=photograph(seed))])
    client.model()
    latency = client.status().latency
    assert latency.calls == before + 3
    assert 0 < latency.p50_ms <= latency.p99_ms


def test_nothing_is_counted_by_a_server_that_was_not_asked_to(client: Client) -> None:
    drift = client.drift()
    assert not drift.counted
    assert not drift.cameras


def test_a_reload_says_whether_anything_changed_and_keeps_the_old_bundle_when_the_new_one_is_refused(
    client: Client, folder: Path
) -> None:
    before = client.model().model.bundle_sha256
    same = client.reload()
    assert (same.changed, same.model.bundle_sha256) == (False, before)
    second = write_bundle(folder / "second", seed=1)
    damaged = folder / "damaged"
    shutil.copytree(second, damaged)
    with (damaged / "fusion.onnx").open("ab") as graph:
        graph.write(b"x")
    point_at(folder, damaged)
    with pytest.raises(FovealError, match=r"fusion\.onnx"):
        client.reload()
    assert client.model().model.bundle_sha256 == before
    assert client.grade([Study(image=photograph())]).results[0].HasField("grade")
    point_at(folder, second)
    client.reload()
    after = client.model().model.bundle_sha256
    assert after != before
    *_, same_again, refused, upgraded = client.status().history
    assert (same_again.event, same_again.bundle_sha256) == (admin_pb2.BUNDLE_EVENT_SERVING, before)
    assert (refused.event, refused.bundle_sha256) == (admin_pb2.BUNDLE_EVENT_REFUSED, before)
    assert "fusion.onnx" in refused.reason
    assert (upgraded.event, upgraded.bundle_sha256, upgraded.reason) == (admin_pb2.BUNDLE_EVENT_UPGRADED, after, "")


def test_the_failed_self_test_of_a_refused_bundle_is_not_the_served_ones(client: Client, folder: Path) -> None:
    before = client.model().model.bundle_sha256
    point_at(folder, write_bundle(folder / "shifted", seed=3, golden_shift=3.0))
    with pytest.raises(FovealError, match="self-test"):
        client.reload()
    status = client.status()
    assert (status.screening, status.self_test_passed) == (admin_pb2.SERVING_STATE_SERVING, True)
    assert status.model.bundle_sha256 == before


def point_at(folder: Path, bundle: Path) -> None:
    link = folder / "next"
    link.symlink_to(bundle)
    link.replace(folder / "current")
