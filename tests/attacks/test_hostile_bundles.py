"""Bundles that were made to harm: each is refused in one line within five seconds, by who opens it and by a server that runs.

Every case is a whole bundle with one thing changed; where the change is in a file, the manifest is made to fit it, as who
writes a bundle would. `test_the_unchanged_bundle_passes` is the twin.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import D, write_bundle
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from servers import RunningServer

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import BundleError, FovealError
from foveal_runtime.study.study import Study

LIMIT_S = 5.0
Change = Callable[[Path], None]


def rehash(folder: Path) -> None:
    """Make the manifest fit the files."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for graph in manifest["graphs"].values():
        data = (folder / graph["file"]).read_bytes()
        graph["sha256"], graph["bytes"] = hashlib.sha256(data).hexdigest(), len(data)
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def raw(change: Callable[[bytes], bytes]) -> Change:
    """Change the manifest's bytes."""

    def work(folder: Path) -> None:
        path = folder / "manifest.json"
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before

    return work


def put(where: str, value: Any) -> Change:
    """Set a value of the manifest by its path."""

    def work(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        *steps, last = where.split("/")
        at: Any = manifest
        for step in steps:
            at = at[int(step) if isinstance(at, list) else step]
        at[int(last) if isinstance(at, list) else last] = value
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return work


def drop(name: str) -> Change:
    """Remove a key of the manifest."""

    def work(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest[name]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return work


def file(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Change a file and its hash."""

    def work(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        rehash(folder)

    return work


def graph(name: str, change: Callable[[onnx.ModelProto], None]) -> Change:
    """Change an ONNX graph and its hash."""

    def work(folder: Path) -> None:
        model = onnx.load(folder / f"{name}.onnx")
        change(model)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        rehash(folder)

    return work


def outputs(change: Callable[[dict[str, Any]], None]) -> Change:
    """Change the golden answers and their hash."""

    def work(folder: Path) -> None:
        path = folder / "golden" / "golden.safetensors"
        arrays = load_file(path)
        change(arrays)
        save_file(arrays, path)
        rehash(folder)

    return work


def studies(change: Callable[[list[Any]], Any]) -> Change:
    """Change the golden studies and their hash."""
    return file("golden/studies.json", lambda text: json.dumps(change(json.loads(text))).encode())


def swap(name: str, make: Callable[[Path], object]) -> Change:
    """Put something else in a file's place."""

    def work(folder: Path) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        make(folder / name)

    return work


def _external(model: onnx.ModelProto, location: str) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == "join")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def _loop(model: onnx.ModelProto) -> None:
    flag, turn = helper.make_tensor_value_info, TensorProto.INT64
    body = helper.make_graph(
        [helper.make_node("Identity", ["keep_in"], ["keep_out"])], "body",
        [flag("turn", turn, []), flag("keep_in", TensorProto.BOOL, [])], [flag("keep_out", TensorProto.BOOL, [])],
    )  # fmt: skip
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(2**62), "turns"))
    model.graph.node.append(helper.make_node("Loop", ["turns", ""], [], body=body))


def _branch(model: onnx.ModelProto) -> None:
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    leaf = helper.make_graph([helper.make_node("Constant", [], ["b"], value_float=0.0)], "leaf", [], [out])
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(True), "which"))
    model.graph.node.append(helper.make_node("If", ["which"], ["b1"], then_branch=leaf, else_branch=leaf))


def _custom(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil", 1))
    model.graph.node.append(helper.make_node("Run", ["joint_BD"], ["x"], domain="evil"))


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("evil", "f", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))


def _huge(model: onnx.ModelProto) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == "join")
    tensor.dims[:] = [1 << 30, 1 << 30]


def _attribute_external(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "c")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["c0"], value=tensor))


def _rename(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "implant"
    for node in model.graph.node:
        node.input[:] = ["implant" if name == "tokens_BTD" else name for name in node.input]


def _retype(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _narrow(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if "tokens_BTD" in node.output:
            node.output[:] = ["wide"]
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([0]), "n0"))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([8]), "n8"))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([2]), "n2"))
    model.graph.node.append(helper.make_node("Slice", ["wide", "n0", "n8", "n2"], ["tokens_BTD"]))
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 8


def _weights_nan(model: onnx.ModelProto) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == "icdr")
    tensor.raw_data = np.full((D, 5), np.nan, np.float32).tobytes()


def _many_files(folder: Path) -> None:
    (folder / "golden" / "a" / "b").mkdir(parents=True)
    (folder / "golden" / "a" / "b" / "implant").write_text("x")


def _sparse(folder: Path) -> None:
    os.truncate(folder / "tokenizer.json", 1 << 40)


def _sparse_graph(folder: Path) -> None:
    os.truncate(folder / "fusion.onnx", 1 << 40)
    put("graphs/fusion/bytes", 1 << 40)(folder)


def _two_studies_of_one(arrays: dict[str, Any]) -> None:
    for name in arrays:
        arrays[name] = arrays[name][:1]


def _deep(text: bytes) -> bytes:
    return text.replace(b'"profile":', b'"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "profile":', 1)


def _less_deep(text: bytes) -> bytes:
    return text.replace(b'"profile":', b'"x": ' + b"[" * 500 + b"]" * 500 + b', "profile":', 1)


FEATURES = [1.0] * 6
CASES: dict[str, Change] = {
    # files
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a missing graph": lambda folder: (folder / "fusion.onnx").unlink(),
    "a missing tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "no golden studies": lambda folder: shutil.rmtree(folder / "golden"),
    "an added file": lambda folder: (folder / "implant.so").write_bytes(b"\x7fELF"),
    "an added file deep inside": _many_files,
    "a changed byte": lambda folder: (folder / "image.onnx").write_bytes(b"\0" + (folder / "image.onnx").read_bytes()[1:]),
    "a link out of the bundle": swap("tokenizer.json", lambda path: path.symlink_to(path.parent.parent / "elsewhere")),
    "a link inside the bundle": lambda folder: (folder / "golden" / "again").symlink_to(folder),
    "the manifest a link": swap("manifest.json", lambda path: path.symlink_to(path.parent.parent / "elsewhere")),
    "a broken link": lambda folder: (folder / "implant").symlink_to("/nowhere"),
    "a pipe as the manifest": swap("manifest.json", lambda path: os.mkfifo(path)),
    "a pipe as a graph": swap("fusion.onnx", lambda path: os.mkfifo(path)),
    "a pipe as the signature": lambda folder: os.mkfifo(folder / "manifest.sig"),
    "a device as a graph": swap("fusion.onnx", lambda path: path.symlink_to("/dev/zero")),
    "a folder as a graph": swap("fusion.onnx", lambda path: path.mkdir()),
    "a file of a terabyte": _sparse,
    "a graph of a terabyte": _sparse_graph,
    # the manifest's text
    "an empty manifest": raw(lambda _: b""),
    "a manifest in UTF-16": raw(lambda text: text.decode().encode("utf-16")),
    "a manifest with a byte order mark": raw(lambda text: b"\xef\xbb\xbf" + text),
    "a manifest of bytes": raw(lambda _: bytes(range(256))),
    "a list": raw(lambda _: b"[]"),
    "a number": raw(lambda _: b"1"),
    "a deep document": raw(_deep),
    "a document somewhat deep": raw(_less_deep),
    "a huge document": raw(lambda text: text + b" " * (5 << 20)),
    "a key twice": raw(lambda text: text.replace(b'"profile":', b'"profile": "a", "profile":', 1)),
    "a key twice further down": raw(lambda text: text.replace(b'"file":', b'"file": "../x", "file":', 1)),
    "NaN": raw(lambda text: text.replace(b'"min_cosine": 0.9999', b'"min_cosine": NaN')),
    "a number without end": raw(lambda text: text.replace(b'"min_cosine": 0.9999', b'"min_cosine": 1e999')),
    "ten thousand digits": raw(lambda text: text.replace(b'"embedding_dim": 256', b'"embedding_dim": ' + b"9" * 10_000)),
    "cut": raw(lambda text: text[:-40]),
    "escapes in a name": put("profile", "\x1b]0;owned\x07\x1b[2J"),
    "escapes in a key": put("made_with/\x1b[2J", "x"),
    "text that runs backwards": put("profile", "edge\u202efdp.exe"),
    "half a character": put("profile", "\ud800"),
    # what the manifest says
    "a newer schema": put("schema_version", 99),
    "a schema that is a list": put("schema_version", [1]),
    "no graphs": put("graphs", {}),
    "no fusion graph": lambda folder: raw(lambda text: text.replace(b'"fusion"', b'"fusjon"'))(folder),
    "no tolerances": drop("tolerances"),
    "an absolute path": put("graphs/image/file", "/etc/passwd"),
    "a path out of the bundle": put("graphs/image/file", "../elsewhere/image.onnx"),
    "a path by way of a folder": put("graphs/image/file", "golden/../image.onnx"),
    "a path with a NUL": put("graphs/image/file", "image.onnx\0.txt"),
    "a path of ten thousand letters": put("graphs/image/file", "a" * 10_000),
    "the bundle itself as a file": put("graphs/image/file", "."),
    "escapes in a path": put("graphs/image/file", "\x1b[31mimage.onnx"),
    "a hash of another length": put("graphs/image/sha256", "00"),
    "a hash that is a number": put("graphs/image/sha256", 7),
    "a negative size": put("graphs/image/bytes", -1),
    "temperature 0": put("calibration/image/temperature/icdr", 0),
    "temperature below 0": put("calibration/image/temperature/icdr", -1.0),
    "a temperature that overflows": put("calibration/image/temperature/icdr", 1e-300),
    "a temperature that is Infinity": raw(lambda text: text.replace(b'"icdr": 2.0', b'"icdr": Infinity')),
    "a threshold above 1": put("calibration/image/operating_points/0/threshold", 1.5),
    "a threshold below 0": put("calibration/image/operating_points/0/threshold", -0.1),
    "std 0 of the photograph": put("image/std", [0.0, 0.2, 0.2]),
    "std below 0 of the photograph": put("image/std", [-1.0, 0.2, 0.2]),
    "std 0 of a feature": put("features/std", [0.0, *FEATURES[1:]]),
    "a feature too few": put("features/mean", FEATURES[1:]),
    "a feature that the graph does not take": put("features/spec", {"no_diabetes_is_zero": True}),
    "a photograph of no size": put("image/side_px", 0),
    "a photograph of a million pixels a side": put("image/side_px", 1_000_000),
    "another crop": put("image/crop", "evil"),
    "notes of no tokens": put("text/max_tokens", 0),
    "notes of a billion tokens": put("text/max_tokens", 1_000_000_000),
    "tokens kept below 0": put("text/kept_tokens", -5),
    "vectors of no length": put("embedding_dim", 0),
    "vectors of a billion": put("embedding_dim", 1_000_000_000),
    "vectors of another length": put("embedding_dim", 128),
    "an unknown head": put("trained_heads", ["evil"]),
    "an unknown subset": put("trained_subsets", ["image+evil"]),
    "an unknown precision": put("precision", "int1"),
    "a space with blanks": put("space_id", "a b; DROP TABLE"),
    "a shape without axes": put("graphs/image/shapes", {"pixels_BCHW": {"min": [], "opt": [], "max": []}}),
    # graphs
    "an empty graph": file("fusion.onnx", lambda _: b""),
    "a graph of noise": file("fusion.onnx", lambda _: os.urandom(5000)),
    "a cut graph": file("fusion.onnx", lambda data: data[: len(data) // 2]),
    "a graph of text": file("fusion.onnx", lambda _: b"import os" * 100),
    "weights in a file outside": graph("fusion", lambda model: _external(model, "../../../../etc/passwd")),
    "weights in an absolute file": graph("fusion", lambda model: _external(model, "/etc/passwd")),
    "weights in a file of the bundle": graph("fusion", lambda model: _external(model, "tokenizer.json")),
    "a constant in another file": graph("fusion", _attribute_external),
    "a loop": graph("fusion", _loop),
    "a branch": graph("fusion", _branch),
    "an operator of its own": graph("fusion", _custom),
    "a function": graph("fusion", _function),
    "weights that claim exabytes": graph("fusion", _huge),
    "another input": graph("fusion", _rename),
    "another kind of input": graph("fusion", _retype),
    "narrower tokens": graph("image", _narrow),
    "weights that are NaN": graph("fusion", _weights_nan),
    "another input in the manifest": put("graphs/fusion/inputs/0/name", "implant"),
    "another kind in the manifest": put("graphs/fusion/inputs/0/dtype", "float16"),
    "another width in the manifest": put("graphs/fusion/outputs/0/shape", ["batch", 7]),
    # golden studies
    "golden answers of another shape": outputs(lambda arrays: arrays.update(joint=arrays["joint"][:, :7].copy())),
    "golden answers for fewer studies": outputs(_two_studies_of_one),
    "golden answers that are NaN": outputs(lambda arrays: arrays["icdr"].fill(np.nan)),
    "golden answers of whole numbers": outputs(lambda arrays: arrays.update(icdr=arrays["icdr"].astype(np.int64))),
    "golden answers that lack a head": outputs(lambda arrays: arrays.pop("sdrg")),
    "golden answers that are others": outputs(lambda arrays: arrays.update(icdr=arrays["icdr"][:, ::-1].copy())),
    "golden answers of noise": file("golden/golden.safetensors", lambda _: b"\xff" * 8 + b"{" * 1000),
    "golden studies of no kind": studies(lambda _: {"a": 1}),
    "no golden study": studies(lambda _: []),
    "a hundred thousand golden studies": studies(lambda found: found[:1] * 100_000),
    "golden studies that are deep": file("golden/studies.json", lambda _: b"[" * 100_000),
    "a golden photograph outside": studies(lambda found: [{**found[0], "image": "../tokenizer.json"}, *found[1:]]),
    "a golden photograph that is a number": studies(lambda found: [{**found[0], "image": 7}, *found[1:]]),
    "a golden record that is a list": studies(lambda found: [{**found[0], "record": [1]}, *found[1:]]),
    "a golden name with escapes": studies(lambda found: [{**found[0], "id": "\x1b[2J"}, *found[1:]]),
    "a golden note that is a number": studies(lambda found: [{**found[0], "note": 7}, *found[1:]]),
    # the tokenizer
    "a tokenizer of noise": file("tokenizer.json", lambda _: os.urandom(1000)),
    "a deep tokenizer": file("tokenizer.json", lambda _: b'{"a":' * 100_000),
    "an empty tokenizer": file("tokenizer.json", lambda _: b""),
    "words beyond the table": file("tokenizer.json", lambda text: text.replace(b'"macula":6', b'"macula":999999')),
    "a huge tokenizer": file("tokenizer.json", lambda text: text + b" " * (300 << 20)),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("plain") / "bundle", seed=1)


def use(folder: Path) -> None:
    """What a server does with a bundle before it answers.

    Raises:
        FovealError: it is not to be used.
    """
    bundle = Bundle.open(folder, seal=True)
    try:
        report = self_test(Engine(bundle, threads=1))
    finally:
        bundle.close()
    if not report.passed:
        raise BundleError(f"the self-test failed: {report.summary()}")


def outcome_of(folder: Path) -> tuple[BaseException | None, float]:
    """What using a bundle raises, and in how many seconds; waits for little longer than it may take."""
    caught: list[BaseException | None] = []

    def work() -> None:
        try:
            use(folder)
        except BaseException as error:  # noqa: BLE001 - the test says which kinds may come
            caught.append(error)
        else:
            caught.append(None)

    began = time.monotonic()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(4 * LIMIT_S)
    assert caught, "it hangs"
    return caught[0], time.monotonic() - began


def hostile(case: str, plain: Path, target: Path) -> Path:
    """The bundle of a case, beside nothing else."""
    shutil.copytree(plain, target)
    CASES[case](target)
    return target


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


def test_the_unchanged_bundle_passes(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "b")
    rehash(tmp_path / "b")
    assert outcome_of(tmp_path / "b")[0] is None


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_bundle_is_refused_in_one_line(case: str, plain: Path, tmp_path: Path) -> None:
    error, took_s = outcome_of(hostile(case, plain, tmp_path / "hostile"))
    assert isinstance(error, FovealError), repr(error)
    text = str(error)
    assert text.isprintable()
    assert len(text) < 2000
    assert took_s < LIMIT_S


RELOADS = (
    "a changed byte", "a link out of the bundle", "a pipe as a graph", "a file of a terabyte", "a deep document", "a key twice",
    "escapes in a path", "temperature 0", "std 0 of the photograph", "weights in an absolute file", "a loop", "another input",
    "weights that are NaN", "golden answers that are NaN", "a deep tokenizer", "words beyond the table", "narrower tokens",
)  # fmt: skip


def test_a_server_keeps_its_bundle_through_hostile_reloads(plain: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(plain)
    with RunningServer(link, "--cache-entries", "0") as server, server.client() as client:
        first = client.model().model
        for number, case in enumerate(RELOADS, start=1):
            target = hostile(case, plain, tmp_path / f"{number}" / "hostile")
            (tmp_path / "next").symlink_to(target)
            (tmp_path / "next").rename(link)
            began = time.monotonic()
            server.process.send_signal(signal.SIGHUP)
            while server.log.count("the old one is kept") < number:
                assert time.monotonic() - began < 4 * LIMIT_S, (case, server.log[-2000:])
                time.sleep(0.02)
            # Whoever else asks while the machine is busy starting a worker has time of its own.
            assert time.monotonic() - began < 2 * LIMIT_S, case
            assert client.model().model == first, case
            assert client.grade([Study(note="macula")]).results[0].HasField("grade"), case
        assert "Traceback" not in server.log
        assert "INTERNAL" not in server.log
        assert all(line.isprintable() for line in server.log.splitlines())
        assert server.health() == "SERVING"
