"""Hashed patient references: where a patient's name hides, when a key is made, and how an older store is hashed."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from commands import foveal

from foveal_runtime.errors import ConfigError, FovealError, PreconditionError
from foveal_runtime.store import Archive, Column, Equals, StoreOptions
from foveal_runtime.store.filter import AttributeEquals
from foveal_runtime.store.patients import KEY_NAME, PatientRefs, make_key, read_key
from foveal_runtime.store.references import References, key_of, keyed
from foveal_runtime.store.schema import Collection

from .conftest import SPACE, make_entries

REFS = PatientRefs(b"k" * 32)
PATIENT = "P-1234"
KEYED = REFS.ref(PATIENT)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("/photographs/P-1234/left.jpg", "/photographs/{}/left.jpg"),
        ("P-1234_left.jpg", "{}_left.jpg"),
        ("2024-P-1234-OD.dcm", "2024-{}-OD.dcm"),
        ("seen with P-1234, twice: P-1234", "seen with {}, twice: {}"),
        ("/photographs/P-12345/left.jpg", "/photographs/P-12345/left.jpg"),
        ("XP-1234", "XP-1234"),
        ("", ""),
    ],
)
def test_a_patient_s_reference_is_hidden_wherever_it_is_a_word(text: str, hidden: str) -> None:
    found = REFS.hide(text, PATIENT)
    assert found == hidden.format(KEYED, KEYED)
    assert REFS.hide(found, KEYED) == found == REFS.hide(found, PATIENT), "what came back may be stored again"


@pytest.mark.parametrize("text", ["/photographs/P-1234/left.jpg", "P-1234_left.jpg", "a/2024-P-1234-OD.dcm"])
def test_it_is_hidden_too_where_the_keyed_reference_alone_is_known(text: str) -> None:
    assert REFS.hide(text, KEYED) == REFS.hide(text, PATIENT)


def test_whose_key_it_is_finds_the_file_that_a_hidden_path_means(tmp_path: Path) -> None:
    for name in ("P-1234", "P-1235"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_left.jpg").write_bytes(b"")
    path = tmp_path / PATIENT / f"{PATIENT}_left.jpg"
    hidden = Path(REFS.hide(str(path), PATIENT))
    assert PATIENT not in str(hidden)
    assert REFS.find(hidden, KEYED) == path
    assert PatientRefs(b"x" * 32).find(hidden, KEYED) == hidden
    assert REFS.find(tmp_path / "none" / "a.jpg", KEYED) == tmp_path / "none" / "a.jpg"


def of(name: str = "default", key_id: str = "") -> Collection:
    return Collection(name=name, generation=1, space_id=SPACE, dim=256, patient_key_id=key_id)


def served(folder: Path | str, *there: Collection, named: Path | None = None, wanted: str = "hashed", name: str = "default"):
    return keyed(there, name, location=folder, wanted=References(wanted), named=named)


def test_the_first_collection_of_a_store_makes_its_key_and_later_starts_read_it(tmp_path: Path) -> None:
    first = served(tmp_path)
    assert first.made == tmp_path / KEY_NAME
    assert first.made.stat().st_mode & 0o777 == 0o600
    assert first.key is not None
    assert first.key.decode() not in repr(first)
    key_id = PatientRefs(first.key).key_id
    for there in ((), (of(key_id=key_id),), (of("other", key_id),)):
        again = served(tmp_path, *there)
        assert (again.key, again.made, again.warning) == (first.key, None, "")
    assert served(tmp_path, wanted="plain").key is None
    with pytest.raises(ConfigError, match="can't be made"):
        make_key(tmp_path / KEY_NAME)


def test_a_collection_with_references_as_they_came_stays_so_and_says_how_to_hash_them(tmp_path: Path) -> None:
    found = served(tmp_path, of())
    assert found.key is None
    assert f"`foveal store hash-patients {tmp_path}`" in found.warning
    assert not (tmp_path / KEY_NAME).exists()
    assert served(tmp_path, of(), wanted="plain").warning == ""


def test_a_lost_key_is_named_and_never_replaced(tmp_path: Path) -> None:
    lost = of(key_id="0123456789abcdef")
    for there, name in (((lost,), "default"), ((lost,), "new")):
        with pytest.raises(PreconditionError, match=r"0123456789abcdef.*patients\.key is not there; copy the key back"):
            served(tmp_path, *there, name=name)
    with pytest.raises(PreconditionError, match="is not there"):
        served(tmp_path, lost, wanted="plain")
    with pytest.raises(PreconditionError, match="is not there"):
        key_of([lost], location=tmp_path, named=None)
    make_key(tmp_path / KEY_NAME)
    with pytest.raises(PreconditionError, match=r"holds key [0-9a-f]{16}, and references are keyed with 0123456789abcdef"):
        key_of([lost], location=tmp_path, named=None)


def test_a_store_at_a_url_asks_where_its_key_shall_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--hash-patients FILE"):
        served("postgresql://db/foveal")
    found = served("postgresql://db/foveal", named=tmp_path / "k")
    assert found.made == tmp_path / "k"
    assert read_key(tmp_path / "k") == found.key


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_key_that_can_not_be_written_says_how_to_make_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        served(tmp_path)


def _mine() -> list:
    made = [
        replace(each, patient=PATIENT, source=f"/photographs/{PATIENT}/{each.id}.jpg")
        for each in make_entries(3, prefix="mine")
    ]
    return [replace(each, attributes={"chart": PATIENT, "room": "2"}) for each in made]


async def _fill(folder: Path) -> None:
    archive = await Archive.open(folder, space_id=SPACE, options=StoreOptions(maintain=False))
    try:
        await archive.upsert([*make_entries(20), *_mine()])
    finally:
        await archive.close()


async def _found(folder: Path, key: bytes) -> list[str]:
    archive = await Archive.open(folder, space_id=SPACE, options=StoreOptions(maintain=False, patient_key=key))
    try:
        by_patient = await archive.page(count=10, filter=Equals(Column.PATIENT, PATIENT))
        by_chart = await archive.page(count=10, filter=AttributeEquals("chart", PATIENT))
        assert [each.id for each in by_patient] == [each.id for each in by_chart]
        changed = await archive.update(by_patient[0].id, {"source": f"/elsewhere/{PATIENT}.jpg"})
        assert PATIENT not in changed.source
        return [f"{each.patient} {each.source} {dict(each.attributes)}" for each in by_patient]
    finally:
        await archive.close()


def _holding(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and PATIENT.encode() in path.read_bytes()]


def test_an_older_store_is_hashed_and_holds_no_reference_in_any_file(store_parent: Path) -> None:
    folder = store_parent / "store"
    asyncio.run(_fill(folder))
    assert _holding(folder)
    done = foveal("store", "hash-patients", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == {"key": str(folder / KEY_NAME), "collections": {"default": 23}, "write_ahead_log_switched": True}
    assert _holding(folder) == []
    key = read_key(folder / KEY_NAME)
    rows = asyncio.run(_found(folder, key))
    assert len(rows) == 3
    assert not [row for row in rows if PATIENT in row]
    assert all(row.count(PatientRefs(key).ref(PATIENT)) == 3 for row in rows), "reference, source and attribute"
    again = foveal("store", "hash-patients", str(folder), "--json")
    assert json.loads(again.stdout)["collections"] == {}

    dump = store_parent / "a.dump"
    done = foveal("store", "dump", str(folder), str(dump))
    assert f"keyed with key {PatientRefs(key).key_id}, which is not in it" in done.stderr
    done = foveal("store", "restore", str(store_parent / "restored"), str(dump))
    assert f"the file of patient key {PatientRefs(key).key_id}" in done.stderr
    with pytest.raises(FovealError, match="the key it was made with"):
        asyncio.run(_found(store_parent / "restored", make_key(store_parent / "another")))
    assert len(asyncio.run(_found(store_parent / "restored", key))) == 3

    (store_parent / "patient").write_text(PATIENT)
    done = foveal("store", "erase", str(folder), "--patient-file", str(store_parent / "patient"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["collections"] == {"default": {"entries": 3, "vectors": 3}}
