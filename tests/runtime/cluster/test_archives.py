"""An archive's units, what embeds them, and the ledger of what has become of each. No Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import BREAKS, RECORD, WORDS, open_engine, photograph, write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.cli.archive_store import entry_of
from foveal_runtime.cluster.embedder import Embedder, EmbedPlan, retryable
from foveal_runtime.cluster.units import (
    STUDIES,
    Input,
    inputs_of,
    of_files,
    of_parquet,
    parquet_files,
    read,
    row_groups,
    row_source,
)
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import BundleError, ConfigError, ImageError, InputError
from foveal_runtime.rpc.grade_messages import ICDR_TO, REFERRAL_TO
from foveal_runtime.serving.config import ServeConfig
from foveal_runtime.study.study import Record, Study

KINDS = (VectorKind.IMAGE, VectorKind.JOINT)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes(photograph(i))
    (folder / "broken.jpg").write_bytes(photograph(0)[:500])
    return folder


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> EmbedPlan:
    bundle = write_bundle(tmp_path_factory.mktemp("embedder") / "bundle")
    config = ServeConfig(bundle=bundle, self_test_every_s=0)
    return EmbedPlan(config=config, bundle_sha256=Bundle.open(bundle).sha256, cpus=1, kinds=KINDS)


@pytest.fixture(scope="module")
def embedder(plan: EmbedPlan) -> Iterator[Embedder]:
    opened = Embedder(plan)
    yield opened
    opened.close()


def loaded(unit: str) -> list[Any]:
    return [each for part in read(unit) for each in part]


def test_units_of_files_leave_out_what_is_done_and_keep_what_is_known(archive: Path) -> None:
    inputs = [
        Input(source=str(archive / f"{i}.jpg"), note="macula", record=RECORD, facts={"patient": f"p{i}"}) for i in range(3)
    ]
    (unit,) = of_files(inputs, done={inputs[1].source})
    first, last = loaded(unit)
    assert (first.source, last.source) == (inputs[0].source, inputs[2].source)
    assert first.study == Study(image=photograph(0), note="macula", record=RECORD)
    assert last.facts == {"patient": "p2"}
    assert len(list(of_files([Input(source=str(i)) for i in range(2 * STUDIES + 1)], done=()))) == 3


def test_a_file_that_can_not_be_read_is_its_own_failure(archive: Path) -> None:
    (unit,) = of_files([Input(source=str(archive / "missing.jpg")), Input(source=str(archive / "0.jpg"))], done=())
    missing, there = loaded(unit)
    assert isinstance(missing.study, ImageError)
    assert isinstance(there.study, Study)


def written(path: Path, rows: list[dict[str, Any]], **settings: Any) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    parquet.write_table(pa.Table.from_pylist(rows), path, **settings)
    return path


def test_rows_of_parquet_are_read_a_row_group_at_a_time_without_those_that_are_done(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image": photograph(i), "note": "macula", "age_years": 50.0, "eye": "left", "patient": f"p{i}"} for i in range(5)
    ]
    rows[3]["image"] = b""
    rows[4]["eye"] = "middle"
    file = written(tmp_path / "a.parquet", rows, row_group_size=2)
    groups = row_groups(parquet_files(tmp_path))
    units = list(of_parquet(groups, done={row_source(file, 0), row_source(file, 2), row_source(file, 3)}))
    assert sum(each.rows for each in groups) == 5
    assert len(units) == 2
    second, last = (loaded(unit) for unit in units)
    assert [inputs_of(unit) for unit in units] == [1, 1]
    assert [each.source for each in (*second, *last)] == [row_source(file, 1), row_source(file, 4)]
    assert second[0].study.record == Record(age_years=50.0, eye=second[0].study.record.eye)
    assert second[0].facts == {"patient": "p1", "eye": "left"}
    assert isinstance(last[0].study, InputError)
    (failed,) = (each for each in loaded(list(of_parquet(groups, ()))[1]) if each.source == row_source(file, 3))
    assert isinstance(failed.study, ImageError)


def test_a_row_s_grade_and_day_are_read_or_the_row_is_its_own_failure(tmp_path: Path) -> None:
    given = [(3, "2024-02-29"), (2, ""), (7, "2024-02-29"), (1, "some day")]
    file = written(tmp_path / "a.parquet", [{"image": photograph(0), "icdr": icdr, "acquired": day} for icdr, day in given])
    first, second, *failed = (each for unit in of_parquet(row_groups([file]), ()) for each in loaded(unit))
    assert first.facts == {"icdr": 3, "acquired": "2024-02-29"}
    assert second.facts == {"icdr": 2}
    assert [type(each.study) for each in failed] == [InputError, InputError]
    assert ["icdr" in str(failed[0].study), "acquired" in str(failed[1].study)] == [True, True]
    facts = entry_of({**row("a#0"), "facts": json.dumps(first.facts), "joint_vector": [1.0] + [0.0] * 255}, site="").facts
    assert facts.acquired == "2024-02-29"
    assert (facts.icdr, facts.referral) == (ICDR_TO[3], REFERRAL_TO[True])


def test_parquet_without_photographs_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Parquet"):
        parquet_files(tmp_path)
    with pytest.raises(InputError, match="'image'"):
        row_groups([written(tmp_path / "a.parquet", [{"x": 1}])])
    (tmp_path / "b.parquet").write_bytes(b"no Parquet")
    with pytest.raises(InputError, match="can't be read"):
        row_groups([tmp_path / "b.parquet"])


def test_vectors_are_the_engines_and_a_bad_input_hurts_no_neighbour(archive: Path, plan: EmbedPlan, embedder: Embedder) -> None:
    names = ["0.jpg", "broken.jpg", "1.jpg", "gone.jpg"]
    poison = Input(source=str(archive / "2.jpg"), note=WORDS[BREAKS])
    (unit,) = of_files([*(Input(source=str(archive / name)) for name in names), poison], done=())
    rows = {Path(row["source"]).name: row for row in embedder.rows(unit)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "0.jpg": "OK",
        "broken.jpg": "INVALID_ARGUMENT",
        "1.jpg": "OK",
        "gone.jpg": "INVALID_ARGUMENT",
        "2.jpg": "INVALID_ARGUMENT",
    }
    assert rows["2.jpg"]["reason"] == "STUDY_BREAKS_MODEL"
    engine = open_engine(plan.config.bundle)
    for name, seed in (("0.jpg", 0), ("1.jpg", 1)):
        (alone,) = engine.run([engine.prepare(Study(image=photograph(seed)))], kinds=frozenset(KINDS))
        for kind in KINDS:
            assert np.abs(rows[name][f"{kind.value}_vector"] - alone.vectors[kind]).max() < 1e-4
        assert 0 <= rows[name]["icdr"] <= 4
        assert json.loads(rows[name]["grade"])["graded"]["heads"]


def test_an_embedder_refuses_a_node_with_another_bundle(plan: EmbedPlan) -> None:
    from dataclasses import replace

    with pytest.raises(BundleError, match="another bundle"):
        Embedder(replace(plan, bundle_sha256="0" * 64))


def test_what_is_no_input_s_fault_is_asked_again() -> None:
    assert retryable({"status": "UNAVAILABLE"})
    assert not retryable({"status": "INVALID_ARGUMENT"})
    assert not retryable({"status": "OK"})


def row(source: str, status: str = "OK") -> dict[str, Any]:
    if status != "OK":
        return {"source": source, "status": status, "reason": "INVALID_IMAGE", "message": "broken", "facts": ""}
    vector = np.ones(256, np.float32) / 16
    facts = json.dumps({"patient": "p", "eye": "left", "icdr": 2})
    return {"source": source, "id": "0" * 64, "status": "OK", "message": "", "joint_vector": vector, "icdr": 1, "facts": facts}


def test_a_ledger_goes_on_where_it_ended_and_takes_no_source_twice(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from foveal_runtime.cluster.ledger import FAILURES, VECTORS, Ledger, rows_of

    about = {"source": "folder:x", "bundle_sha256": "1"}
    with Ledger(tmp_path / "out", about, ["joint"]) as ledger:
        for each in (row("a"), row("b"), row("a"), row("c", "INVALID_ARGUMENT")):
            ledger.add(each)
        assert ledger.commit() is not None
        ledger.add(row("d"))
    with Ledger(tmp_path / "out", about, ["joint"]) as again:
        assert again.done == {"a", "b", "c", "d"}
        assert again.failed == 1
        again.add(row("d"))
        assert not again.waiting
        found = [each for part in again.parts(VECTORS) for each in rows_of(part)]
        assert sorted(each["source"] for each in found) == ["a", "b", "d"]
        assert len(found[0]["joint_vector"]) == 256
        assert "facts" not in found[0]
        assert [each["source"] for part in again.parts(FAILURES) for each in rows_of(part)] == ["c"]
        with pytest.raises(ConfigError, match="another process"), Ledger(tmp_path / "out", about, ["joint"]):
            pass
    with (
        pytest.raises(ConfigError, match="bundle_sha256"),
        Ledger(tmp_path / "out", {**about, "bundle_sha256": "2"}, ["joint"]),
    ):
        pass


def test_a_part_that_was_half_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from foveal_runtime.cluster.ledger import Ledger

    def half(table: Any, path: Path) -> None:
        path.write_bytes(b"PAR1")
        raise OSError("no space left")

    ledger = Ledger(tmp_path, {}, ["joint"])
    with monkeypatch.context() as patch, ledger:
        patch.setattr(parquet, "write_table", half)
        ledger.add(row("a"))
        with pytest.raises(OSError, match="no space"):
            ledger.commit()
    with Ledger(tmp_path, {}, ["joint"]) as again:
        assert again.done == set()


def test_an_entry_has_the_row_s_vectors_and_facts() -> None:
    entry = entry_of({**row("/archive/a.jpg"), "joint_vector": [1.0] + [0.0] * 255}, site="north")
    assert (entry.facts.source, entry.facts.patient, entry.facts.site) == ("/archive/a.jpg", "p", "north")
    assert [len(each.values) for each in entry.vectors.vectors] == [256]
