"""Compiled graphs: they answer as the bundle's own, serve starts from them, and none that was touched is trusted."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import golden_studies, write_bundle
from servers import RunningServer

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.compiled import INDEX, Compiled, entry_folder, find_compiled
from foveal_runtime.engine.compiler import compile_bundle
from foveal_runtime.engine.device import device_facts, device_key
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.providers import Provider
from foveal_runtime.errors import CheckFailed, ConfigError, FovealError, StaleError
from foveal_runtime.serving import kept
from foveal_runtime.study.study import Study


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


@pytest.fixture
def compiled(bundle: Bundle, cache: Path) -> Compiled:
    return compile_bundle(bundle, Provider.CPU, threads=1)[0]


def test_compiled_graphs_answer_as_the_bundles_own(bundle: Bundle, compiled: Compiled) -> None:
    own, ours = (Engine(bundle, threads=1, compiled=entry) for entry in (None, compiled))
    kinds = frozenset(VectorKind)
    for study in golden_studies():
        expected, got = (engine.run([engine.prepare(study)], kinds=kinds)[0] for engine in (own, ours))
        for kind, vector in expected.vectors.items():
            assert abs(got.vectors[kind] - vector).max() <= 1e-6
        for head, logits in expected.logits.items():
            assert abs(got.logits[head] - logits).max() <= 1e-5


def test_entry_is_found_again_and_is_this_users_alone(bundle: Bundle, compiled: Compiled, cache: Path) -> None:
    assert find_compiled(bundle, "cpu") == compiled
    for folder in (cache / "foveal", compiled.folder.parent, compiled.folder):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(p.name for p in compiled.folder.parent.iterdir()) == [".lock", "graphs"]


def test_nothing_is_found_before_compiling_or_for_another_bundle(bundle: Bundle, cache: Path, tmp_path: Path) -> None:
    assert find_compiled(bundle, "cpu") is None
    compile_bundle(bundle, Provider.CPU, threads=1)
    assert find_compiled(Bundle.open(write_bundle(tmp_path / "other", seed=1)), "cpu") is None


def _truncate(folder: Path) -> None:
    path = folder / "image.weights"
    path.write_bytes(path.read_bytes()[:-1])


def _flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "fusion.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "fusion.onnx").write_bytes(data)


def _edit_index(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / INDEX).read_text())
        (folder / INDEX).write_text(json.dumps({**document, **changes}))

    return edit


def _name_a_file_outside(folder: Path) -> None:
    document = json.loads((folder / INDEX).read_text())
    document["graphs"]["image"]["files"] = {"../../evil.onnx": "0" * 64}
    (folder / INDEX).write_text(json.dumps(document))


def _of_another_graph(folder: Path) -> None:
    document = json.loads((folder / INDEX).read_text())
    document["graphs"]["image"]["source"] = "0" * 64
    (folder / INDEX).write_text(json.dumps(document))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated weights": _truncate,
    "a flipped bit": _flip_a_bit,
    "a missing file": lambda folder: (folder / "text.onnx").unlink(),
    "an unreadable index": lambda folder: (folder / INDEX).write_text("{"),
    "an index that is no object": lambda folder: (folder / INDEX).write_text("[]"),
    "an index of another format": _edit_index(format=0),
    "another device": _edit_index(device={"processor": "other"}),
    "a graph without files": _edit_index(graphs={"image": {"source": "", "files": {}}}),
    "another source graph": _of_another_graph,
    "a file outside": _name_a_file_outside,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_touched_entry_is_stale_and_compiling_mends_it(bundle: Bundle, compiled: Compiled, name: str) -> None:
    DAMAGE[name](compiled.folder)
    with pytest.raises(StaleError, match="foveal compile"):
        find_compiled(bundle, "cpu")
    compile_bundle(bundle, Provider.CPU, threads=1)
    assert find_compiled(bundle, "cpu") is not None


def test_a_cache_that_others_may_write_in_is_refused(bundle: Bundle, compiled: Compiled, tmp_path: Path) -> None:
    entry = compiled.folder.parent
    for folder in (compiled.folder, entry):
        folder.chmod(0o755)
        with pytest.raises(ConfigError, match="chmod 700"):
            find_compiled(bundle, "cpu")
        folder.chmod(0o700)
    entry.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="chmod 700"):
        compile_bundle(bundle, Provider.CPU, threads=1)
    entry.parent.chmod(0o700)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="no folder"):
        find_compiled(bundle, "cpu")


def test_a_cache_of_another_user_is_refused(bundle: Bundle, compiled: Compiled) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(compiled.folder, 65534, 65534)
    with pytest.raises(ConfigError, match="another user"):
        find_compiled(bundle, "cpu")


def test_a_cache_that_cannot_be_made_is_one_error(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="FOVEAL_CACHE"):
        compile_bundle(bundle, Provider.CPU, threads=1)


def test_a_bundle_that_drifts_is_not_kept(cache: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle", golden_shift=1.0))
    with pytest.raises(CheckFailed, match="out of tolerance"):
        compile_bundle(bundle, Provider.CPU, threads=1)
    assert find_compiled(bundle, "cpu") is None
    assert [p.name for p in entry_folder(bundle.sha256, "cpu").iterdir()] == [".lock"]


def test_provider_that_is_not_installed_is_refused_before_anything_is_written(bundle: Bundle, cache: Path) -> None:
    with pytest.raises(ConfigError, match="which has cpu"):
        compile_bundle(bundle, Provider.TENSORRT, threads=1)
    assert not cache.exists()


def test_device_key_tells_machines_apart(tmp_path: Path) -> None:
    def of(flags: str, driver: str = "560.35", provider: str = "cpu") -> str:
        shutil.rmtree(tmp_path, ignore_errors=True)
        gpu = tmp_path / "driver" / "nvidia" / "gpus" / "0000:01:00.0"
        gpu.mkdir(parents=True)
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n")
        (gpu.parents[1] / "version").write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}\nGCC version: 13\n")
        (gpu / "information").write_text("Model: \t NVIDIA L4\nIRQ: 44\n")
        return device_key(device_facts(provider, proc=tmp_path))

    assert of("avx512_vnni") == of("avx512_vnni", driver="570.1")
    assert of("avx512_vnni") != of("avx2")
    assert of("avx2", provider="tensorrt") != of("avx2", provider="cuda")
    assert of("avx2", provider="tensorrt") != of("avx2", driver="570.1", provider="tensorrt")
    facts = device_facts("tensorrt", proc=tmp_path)
    assert facts["gpus"] == "NVIDIA L4"
    assert "570.1" in facts["driver"]


def _mapped(server: RunningServer) -> set[Path]:
    return {
        Path(line.split()[-1])
        for pid in server.workers()
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if line.endswith(".weights")
    }


def test_serve_maps_a_copy_of_the_compiled_graphs_and_compiles_stale_ones_again(bundle: Bundle, compiled: Compiled) -> None:
    with RunningServer(bundle.path) as server:
        (image,) = (path for path in _mapped(server) if path.name == "image.weights")
        assert image.parent != compiled.folder
        assert image.parent.parent == compiled.folder.parent
    assert not image.parent.exists()
    _truncate(compiled.folder)
    with RunningServer(bundle.path) as server:
        assert "compiling again" in server.log
        assert "image.weights" in {path.name for path in _mapped(server)}
    assert find_compiled(bundle, "cpu") is not None


def test_compiled_graphs_that_are_overwritten_while_serving_change_no_answer_and_a_killed_servers_copy_goes(
    bundle: Bundle, compiled: Compiled
) -> None:
    study = Study(note="macula")
    with RunningServer(bundle.path, "--cache-entries", "0") as server, server.client() as client:
        before = client.embed([study]).results[0].embedding.vectors[0].values
        weights = compiled.folder / "text.weights"
        weights.chmod(0o600)
        weights.write_bytes(bytes(weights.stat().st_size))
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        server.wait_for("worker lost", 10)
        after = client.embed([study]).results[0].embedding.vectors[0].values
        assert list(after) == pytest.approx(list(before), abs=1e-6)
        (copy,) = {path.parent for path in _mapped(server)}
        server.process.kill()
        server.process.wait()
    assert copy.exists()
    with RunningServer(bundle.path):
        assert not copy.exists()


def test_serve_does_not_use_graphs_that_others_could_have_written(bundle: Bundle, compiled: Compiled) -> None:
    compiled.folder.chmod(0o777)
    with RunningServer(bundle.path) as server:
        assert "not used" in server.log
        assert not _mapped(server)


async def test_no_room_for_the_copy_of_what_was_compiled_again_is_no_end_of_the_server(
    bundle: Bundle, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[FovealError] = [ConfigError("no room for a copy"), StaleError("of another foveal")]

    def find(*unused: object, own: bool) -> Compiled | None:
        raise found.pop()

    monkeypatch.setattr(kept, "find_compiled", find)
    assert await kept.compiled_graphs(bundle, "cpu") is None
    assert not found
