"""Whole exports of a tiny run: what a bundle holds, what it refuses, that it comes out the same, that it is checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emulation
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from browsers import fits_and_is_accessible
from commands import foveal, one_line
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from emulation import HASWELL, emulated, replay
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from foveal_export import pipeline
from foveal_export.bundle.bom import BOM_FILE
from foveal_export.graphs.blocks import blocks
from foveal_export.graphs.edit import in_modules
from foveal_export.output import unproven
from foveal_export.parity import report
from foveal_export.parity.budget import DEFAULTS, parse_budget, replayed, tolerances
from foveal_export.pipeline import export_run
from foveal_export.planning import Request, TextExporter
from foveal_export.quantise import saturation
from foveal_export.quantise.plan import ExportPlan, RangeRule, read_plan
from foveal_export.result import Exported
from foveal_export.studies import cases
from foveal_export.verify import verify
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.golden import read_golden
from foveal_runtime.bundle.manifest import Cpu, Evidence, Precision, Target
from foveal_runtime.bundle.signing import read_public_key
from foveal_runtime.cli.inspect import describe, screen
from foveal_runtime.drift.signals import SIGNALS
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.novelty import LEAST_HELD_OUT
from foveal_runtime.engine.processor import this_processor
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import CheckFailed, ConfigError, DataError, SpaceMismatchError
from foveal_runtime.study.study import ALL_SUBSETS
from foveal_train.runs.origin import commit
from foveal_train.runs.run import Run, read_info


class Quiet:
    """A reporter that remembers stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)


def _request(run: Path, out: Path, precision: Precision, **changes: object) -> Request:
    return Request(run=run, out=out, precision=precision, budget=DEFAULTS[precision], **changes)  # type: ignore[arg-type]


def test_fp32_bundle_answers_as_pytorch_does(fp32: Exported) -> None:
    summary = fp32.report["summary"]
    assert summary["max_abs"] <= 1e-4
    assert summary["icdr_flips"] == 0
    assert summary["neighbour_dependence"] <= 1e-4
    assert set(fp32.report["subsets"]) == {"+".join(s) for s in (name.split("+") for name in fp32.manifest.trained_subsets)}
    assert self_test(Engine(Bundle.open(fp32.bundle), threads=1)).passed


def test_int8_bundle_is_small_within_budget_and_the_same_in_any_company(fp32: Exported, int8: Exported) -> None:
    before, after = (sum(g.bytes for g in e.manifest.graphs.values()) for e in (fp32, int8))
    assert after < 0.4 * before
    assert int8.report["passed"]
    assert int8.report["summary"]["mean_cosine"] > 0.98
    assert int8.report["neighbour_dependence"] <= 1e-4
    dynamic = {scheme["graph"] for scheme in int8.report["schemes"] if scheme["chosen"] and scheme["mode"] == "dynamic"}
    assert {name for name, graph in int8.manifest.graphs.items() if graph.one_at_a_time} == dynamic
    assert self_test(Engine(Bundle.open(int8.bundle), threads=1)).passed


def test_int8_graphs_run_in_integer_kernels(fp32: Exported, int8: Exported, tmp_path: Path) -> None:
    def kernels(name: str) -> Counter[str]:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / name)
        ort.InferenceSession(str(int8.bundle / f"{name}.onnx"), options)
        return Counter(node.op_type for node in onnx.load(tmp_path / name).graph.node)

    exact = onnx.load(fp32.bundle / "image.onnx").graph.node
    kept = int8.report["graphs"]["image"]["kept"]
    floats = sum(n.op_type == "Conv" and in_modules(n.name, kept) for n in exact)
    image = kernels("image")
    assert image["Conv"] == floats
    assert image["QLinearConv"] == sum(n.op_type == "Conv" for n in exact) - floats
    known = {name: len(saturation.products(onnx.load(int8.bundle / f"{name}.onnx"))) for name in int8.manifest.graphs}
    integer = ("QLinearConv", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm")
    assert known["image"] == sum(image[op] for op in integer), "a product that nobody proved safe"
    for name in ("text", "fusion"):
        ops = kernels(name)
        # A head that two readers share stays a Gemm behind Q/DQ.
        assert known[name] - ops["Gemm"] <= sum(ops[op] for op in integer) <= known[name]
        assert ops["MatMulIntegerToFloat"] + ops["DynamicQuantizeMatMul"] >= 12, "six products a block, two blocks"
        assert ops["MatMul"] == ops["MatMulInteger"] == 0
        assert ops["Attention"] == 2


@pytest.mark.slow  # an emulated processor takes most of a minute
def test_int8_answers_alike_on_a_processor_without_vnni(int8: Exported, tmp_path: Path) -> None:
    found = {}
    for name in ("here", "haswell"):
        out = tmp_path / f"{name}.npz"
        if name == "here":
            replay(int8.bundle, out)
        else:
            done = emulated(HASWELL, emulation.__file__, int8.bundle, out)
            assert done.returncode == 0, done.stderr[-2000:]
        with np.load(out) as answers:
            found[name] = dict(answers)
    here, haswell = found["here"], found["haswell"]
    assert str(haswell["processor"]) == "x86-64-v3 without VNNI"
    assert haswell["passed"], "the golden studies that a clinic's server would replay"
    assert float((here["joint"] * haswell["joint"]).sum(axis=1).min()) > 1 - 1e-6
    cosines = [float((side["joint"] * side["reference"]).sum(axis=1).mean()) for side in (here, haswell)]
    assert abs(cosines[0] - cosines[1]) <= 0.002
    np.testing.assert_array_equal(here["decisions"], haswell["decisions"])


def test_int8_is_right_on_any_processor_and_says_so(int8: Exported) -> None:
    assert int8.manifest.cpu is Cpu.ANY
    assert int8.manifest.made_with["processor"] == str(this_processor())
    assert int8.report["saturation"].keys() == int8.manifest.graphs.keys()
    assert all(entry["safe"] for entry in int8.report["saturation"].values())
    shown = screen(describe(Bundle.open(int8.bundle)))
    assert f"right on any x86-64-v3 processor; judged on {this_processor()}" in shown
    assert int8.html.read_text().count("safe by construction") == len(int8.manifest.graphs)


@pytest.fixture(scope="session")
def wide(tiny_run: Path, int8: Exported) -> ExportPlan:
    """INT8's plan with 8-bit weights."""
    plan = read_plan(int8.bundle / "plan.json", read_info(tiny_run).space_id, precision=Precision.INT8, target=Target.ONNX)
    # Rounding steps are those of seven bits; without them the weights are rounded to the nearest.
    changes = {"reduce_range": False, "rounding": {}, "bias": {}}
    return plan.model_copy(update={"graphs": {name: graph.model_copy(update=changes) for name, graph in plan.graphs.items()}})


def test_eight_bits_are_refused_where_they_could_saturate(tiny_run: Path, wide: ExportPlan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"text.*8-bit weights.*--cpu vnni"):
        export_run(_request(tiny_run, tmp_path / "any", Precision.INT8, plan=wide), Quiet())


@pytest.mark.slow
def test_eight_bits_are_judged_as_vnni_computes_them_and_warned_of(tiny_run: Path, wide: ExportPlan, tmp_path: Path) -> None:
    made = export_run(_request(tiny_run, tmp_path / "wide", Precision.INT8, plan=wide, cpu=Cpu.VNNI), Quiet())
    assert made.manifest.cpu is Cpu.VNNI
    assert made.report["summary"]["mean_cosine"] > 0.999, "saturated, it was 0.973"
    assert {line.partition(":")[0] for line in saturation.warnings(made.report["saturation"])} == {"image", "text", "fusion"}
    assert "right on processors with VNNI alone" in screen(describe(Bundle.open(made.bundle)))


def test_cpu_is_refused_where_it_means_nothing(tiny_run: Path, tmp_path: Path) -> None:
    for precision, target in ((Precision.FP16, Target.ONNX), (Precision.INT8, Target.TENSORRT)):
        with pytest.raises(ConfigError, match="leave it out"):
            export_run(_request(tiny_run, tmp_path / "out", precision, target=target, cpu=Cpu.VNNI), Quiet())


def test_every_range_rule_is_measured_and_the_choice_is_recorded(int8: Exported) -> None:
    rules = {s["rule"] for s in int8.report["schemes"] if s["graph"] == "image" and s["mode"] == "static"}
    assert rules == {rule.value for rule in RangeRule}
    chosen = {s["graph"]: s for s in int8.report["schemes"] if s["chosen"]}
    for name, scheme in chosen.items():
        recorded = int8.manifest.graphs[name].scheme
        assert recorded.startswith(f"int8, {scheme['mode']}")
        assert scheme["mode"] != "static" or f"{scheme['rule']} ranges" in recorded
    assert int8.manifest.graphs["structured"].scheme == "fp16 weights, fp32 arithmetic"


def test_report_shows_every_precision_and_which_output_failed(int8: Exported) -> None:
    costs = {cost["name"]: cost for cost in int8.report["precisions"]}
    assert list(costs) == ["pytorch", "fp32", "fp16", "int8"]
    assert costs["int8"]["bytes"] < costs["fp16"]["bytes"] < costs["fp32"]["bytes"]
    assert 'class="fail"' not in int8.html.read_text()
    missed = {"subset": "image", "quantity": "max_abs of joint", "got": 0.1, "limit": 0.01}
    page = report.html({**int8.report, "failures": [missed], "passed": False}, {}, {}, {})
    assert page.count('<span class="fail">FAIL</span>') == 1
    rows = [row for row in page.split("<tr>") if 'class="fail">FAIL' in row]
    assert rows[0].startswith("<td class=l>image</td><td>joint</td>")


@pytest.mark.slow
def test_fp16_bundle_takes_about_half_the_bytes(tiny_run: Path, fp32: Exported, tmp_path: Path) -> None:
    fp16 = export_run(_request(tiny_run, tmp_path / "fp16", Precision.FP16), Quiet())
    sizes = {e.manifest.precision: sum(g.bytes for g in e.manifest.graphs.values()) for e in (fp32, fp16)}
    assert sizes[Precision.FP16] < 0.6 * sizes[Precision.FP32]
    assert fp16.report["summary"]["min_cosine"] > 0.999
    assert fp16.manifest.space_id == fp32.manifest.space_id


def test_golden_studies_cover_every_subset_and_stay_small(int8: Exported) -> None:
    golden = read_golden(Bundle.open(int8.bundle))
    assert len(golden.studies) >= 32
    assert {study.modalities for study in golden.studies} == set(ALL_SUBSETS)
    assert sum(p.stat().st_size for p in (int8.bundle / "golden").iterdir()) <= 2_000_000


@pytest.mark.slow
def test_same_run_and_plan_give_the_same_graphs_and_bill_of_materials(tiny_run: Path, int8: Exported, tmp_path: Path) -> None:
    info = read_info(tiny_run)
    plan = read_plan(int8.bundle / "plan.json", info.space_id, precision=Precision.INT8, target=Target.ONNX)
    again = export_run(_request(tiny_run, tmp_path / "again", Precision.INT8, plan=plan), Quiet())
    for name, graph in int8.manifest.graphs.items():
        assert again.manifest.graphs[name].sha256 == graph.sha256, name
    assert (again.bundle / BOM_FILE).read_bytes() == (int8.bundle / BOM_FILE).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("optimum")
def test_optimum_writes_the_notes_graph_alone_where_it_is_asked_to(tiny_run: Path, fp32: Exported, tmp_path: Path) -> None:
    request = _request(tiny_run, tmp_path / "bundle", Precision.FP32, text_exporter=TextExporter.OPTIMUM)
    assert request.words == ("export", str(tiny_run), "--text-exporter", "optimum")
    exported = export_run(request, Quiet())
    assert exported.report["passed"]
    for name, graph in exported.manifest.graphs.items():
        assert (graph.sha256 == fp32.manifest.graphs[name].sha256) == (name != "text"), name
    assert exported.manifest.made_with["optimum-onnx"]
    assert "optimum-onnx" not in fp32.manifest.made_with


def test_optimum_that_is_not_installed_is_named_before_any_work(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optimum.exporters.onnx", None)
    words = ("export", str(tiny_run), "--precision", "fp32", "--text-exporter", "optimum", "--out", str(tmp_path / "bundle"))
    done = foveal(*words)
    assert done.returncode == 2
    assert "install foveal[optimum]" in one_line(done.stderr)


def test_bill_of_materials_is_of_this_export(tiny_run: Path, fp32: Exported) -> None:
    raw = (fp32.bundle / BOM_FILE).read_bytes()
    assert fp32.manifest.files[BOM_FILE] == hashlib.sha256(raw).hexdigest()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(raw.decode()) is None
    document = json.loads(raw)
    parts = {part["bom-ref"]: part for part in document["components"]}
    for name, graph in fp32.manifest.graphs.items():
        assert parts[f"weights:{name}"]["hashes"] == [{"alg": "SHA-256", "content": graph.sha256}]
    split = Run.open(tiny_run).split
    for use, part in (("training", "train"), ("validation", "validation"), ("verdict", "test")):
        said = {row["name"]: row["value"] for row in parts[f"data:{use}"]["properties"]}
        assert said == {"foveal:kinds": "brset", "foveal:studies": str(len(split[part])), "foveal:complete": "true"}
    assert str(tiny_run.parent) not in raw.decode()


def test_every_file_of_the_bundle_is_in_the_manifest(int8: Exported) -> None:
    listed = {graph.file for graph in int8.manifest.graphs.values()} | set(int8.manifest.files) | {"manifest.json"}
    assert listed == {p.relative_to(int8.bundle).as_posix() for p in int8.bundle.rglob("*") if p.is_file()}
    assert not list(int8.bundle.parent.glob(".int8.partial-*"))
    card = (int8.bundle / "MODEL_CARD.md").read_text()
    assert "not a medical device" in card
    assert "brset:" not in card


def test_manifest_counts_the_photographs_that_nobody_trained_on(int8: Exported) -> None:
    held_out = int8.manifest.held_out
    assert held_out is not None
    assert held_out.photographs >= LEAST_HELD_OUT
    wanted = {signal.name for signal in SIGNALS if signal.of_camera and (signal.name != "image" or int8.manifest.novelty)}
    assert held_out.counts.keys() == wanted
    assert {sum(row.values()) for row in held_out.counts.values()} == {held_out.photographs}


def test_manifest_says_what_made_it_and_inspect_shows_it(int8: Exported) -> None:
    assert {"torch", "onnxruntime", "commit", "python"} <= set(int8.manifest.made_with)
    assert screen(describe(Bundle.open(int8.bundle))).count("\n") <= 42


def test_commit_is_of_a_checkout_alone(tmp_path: Path) -> None:
    lone = tmp_path / "provenance.py"
    lone.write_text("")
    assert commit(lone) == "unknown"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert commit(lone) == "unknown"  # a repository around an installation, which does not track it
    subprocess.run(["git", "-C", tmp_path, "add", "provenance.py"], check=True)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", tmp_path, *who, "commit", "-qm", "x"], check=True)
    assert len(commit(lone)) == 40
    lone.write_text("changed")
    assert commit(lone).endswith("-dirty")


def test_signed_export_opens_with_its_key_alone(tiny_run: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "signing.pem", tmp_path / "signing.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    with pytest.raises(ConfigError, match="private key in PEM"):
        export_run(_request(tiny_run, tmp_path / "out", Precision.FP32, sign=public), Quiet())
    signed = export_run(_request(tiny_run, tmp_path / "out", Precision.FP32, sign=private), Quiet())
    assert Bundle.open(signed.bundle, signed_by=read_public_key(public)).is_signed


def test_existing_target_is_refused_before_any_work(tiny_run: Path, int8: Exported, tmp_path: Path) -> None:
    reporter = Quiet()
    with pytest.raises(ConfigError, match="--force"):
        export_run(_request(tiny_run, int8.bundle, Precision.INT8), reporter)
    precious = tmp_path / "photographs"
    precious.mkdir()
    with pytest.raises(ConfigError, match="no bundle"):
        export_run(_request(tiny_run, precious, Precision.INT8, force=True), reporter)
    assert not reporter.stages


def test_interrupted_export_leaves_nothing_that_looks_finished(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "html", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_run(_request(tiny_run, tmp_path / "out", Precision.FP32), Quiet())
    assert list(tmp_path.iterdir()) == []


def test_out_of_budget_lists_every_failure_and_writes_no_bundle(tiny_run: Path, tmp_path: Path) -> None:
    tight = parse_budget(["min_cosine=1", "max_abs=0"], Precision.FP32)
    request = Request(run=tiny_run, out=tmp_path / "out", precision=Precision.FP32, budget=tight)
    with pytest.raises(CheckFailed) as caught:
        export_run(request, Quiet())
    assert "image: min_cosine of joint" in str(caught.value)
    assert "structured: max_abs of structured" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.parity.html", "out.parity.json", "out.plan.json"]


def _words(command: list[str]) -> list[str]:
    """The words of a mend, as this environment's `foveal` takes them."""
    return [sys.executable, "-m", "foveal_runtime.cli.main", *command]


@pytest.mark.slow
def test_refused_export_names_commands_that_go_on_from_its_plan(tiny_run: Path, int8: Exported, tmp_path: Path) -> None:
    tight = parse_budget(["min_cosine=0.99999", "max_abs=0.001"], Precision.INT8)
    plan = ExportPlan.model_validate_json((int8.bundle / "plan.json").read_text())
    with pytest.raises(CheckFailed) as caught:
        export_run(Request(run=tiny_run, out=tmp_path / "out", precision=Precision.INT8, budget=tight, plan=plan), Quiet())
    mended = json.loads((tmp_path / "out.parity.json").read_text())["mend"]
    assert shlex.join(mended["command"]) in str(caught.value)
    assert "min_cosine" in mended["why"]
    done = subprocess.run(_words(mended["command"]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exported = Bundle.open(tmp_path / "out")
    hashes = ({name: graph.sha256 for name, graph in m.graphs.items()} for m in (exported.manifest, int8.manifest))
    assert next(hashes) == next(hashes)
    assert exported.manifest.tolerances.min_cosine < 0.99999
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.parity.html"], "nothing of the refusal is left"


def test_block_to_keep_that_there_is_none_of_is_named(tiny_run: Path, fp32: Exported, int8: Exported, tmp_path: Path) -> None:
    plan = read_plan(int8.bundle / "plan.json", int8.manifest.space_id, precision=Precision.INT8, target=Target.ONNX)
    block = blocks(onnx.load(fp32.bundle / "fusion.onnx"))[0].name
    with pytest.raises(ConfigError, match=f"names no block; fusion has .*{block}"):
        export_run(_request(tiny_run, tmp_path / "o", Precision.INT8, plan=plan, keep=(("fusion", "nothing"),)), Quiet())


@pytest.mark.slow
def test_kept_blocks_stay_in_floating_point(tiny_run: Path, fp32: Exported, int8: Exported, tmp_path: Path) -> None:
    plan = read_plan(int8.bundle / "plan.json", int8.manifest.space_id, precision=Precision.INT8, target=Target.ONNX)
    block = blocks(onnx.load(fp32.bundle / "fusion.onnx"))[0].name
    kept = export_run(_request(tiny_run, tmp_path / "out", Precision.INT8, plan=plan, keep=(("fusion", block),)), Quiet())
    assert kept.report["graphs"]["fusion"]["kept"] == [block]
    for name, graph in int8.manifest.graphs.items():
        assert (kept.manifest.graphs[name].sha256 == graph.sha256) == (name != "fusion"), "one plan, one graph"


def _changed(bundle: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A bundle whose manifest says something else, its hashes still right."""
    shutil.copytree(bundle, target)
    manifest = json.loads((target / "manifest.json").read_text()) | {"checksum": ""}
    change(manifest)
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m["calibration"]["image"]["temperature"].update(icdr=3.0), "image: temperature of icdr"),
        (lambda m: m["calibration"]["image"]["operating_points"][0].update(threshold=0.9), "image: threshold of"),
        (lambda m: m["image"].update(std=[s * 2 for s in m["image"]["std"]]), "image: min_cosine of joint"),
        (lambda m: m["features"]["mean"].__setitem__(0, 20.0), "structured: min_cosine of joint"),
    ],
)
def test_verify_names_what_a_bundle_carries_that_its_run_does_not_give(
    tiny_run: Path, fp32: Exported, tmp_path: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    changed = _changed(fp32.bundle, tmp_path / "bundle", change)
    with pytest.raises(CheckFailed) as caught:
        verify(changed, tiny_run, (), Quiet()).raise_if_failed()
    assert named in str(caught.value)


def test_a_run_whose_data_moved_is_told_where_it_is_now(tiny_run: Path, tmp_path: Path) -> None:
    run = Run.open(tiny_run)
    before = cases.choose(run, None)
    moved = tmp_path / "elsewhere"
    shutil.copytree(run.info.data[0].partition(":")[2], moved)
    gone = Run(run.path, run.info.model_copy(update={"data": ("brset:/nowhere/data",)}), run.model, run.tokenizer_json)
    with pytest.raises(DataError, match="is not there any more; say where it is now with --data KIND:PATH"):
        cases.choose(gone, None)
    after = cases.choose(gone, [f"brset:{moved}"])
    for part in ("calibration", "validation", "parity"):
        assert [s.id for s in getattr(after, part)] == [s.id for s in getattr(before, part)]


def test_plans_are_searched_on_other_studies_than_they_are_judged_on(tiny_run: Path, int8: Exported) -> None:
    assert int8.report["searched_on"] == "the run's validation split"
    assert int8.report["source"] == "the run's test split"
    chosen = cases.choose(Run.open(tiny_run), None)
    assert not {s.id for s in chosen.search} & {s.id for s in chosen.parity}
    unvalidated = dataclasses.replace(chosen, validation=())
    assert unvalidated.search == chosen.calibration
    assert unvalidated.search_source == "the run's training split"


def test_heads_without_enough_held_out_studies_are_unverified_everywhere(int8: Exported) -> None:
    assert {e.status for heads in int8.manifest.evidence.values() for e in heads.values()} == {Evidence.UNVERIFIED}
    assert int8.report["evidence"]["image"]["icdr"]["status"] == "unverified"
    assert "| image | icdr |" in (int8.bundle / "MODEL_CARD.md").read_text()
    assert "grades not judged" in int8.html.read_text()
    assert any("icdr from image" in line and "--allow-un" in line for line in unproven(int8.report["evidence"]))


def test_bundle_that_would_fail_its_own_replay_is_not_written(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = pipeline.write_golden

    def turned_around(folder: Path, *more: Any) -> None:
        write(folder, *more)
        outputs = folder / "golden.safetensors"
        tensors = load_file(outputs)
        save_file({**tensors, "joint": -tensors["joint"]}, outputs)

    monkeypatch.setattr(pipeline, "write_golden", turned_around)
    with pytest.raises(CheckFailed, match="golden study"):
        export_run(_request(tiny_run, tmp_path / "out", Precision.FP32), Quiet())
    assert not (tmp_path / "out").exists()


def test_too_few_calibration_studies_are_refused(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MIN_CALIBRATION", 10_000)
    with pytest.raises(DataError, match="too few"):
        export_run(_request(tiny_run, tmp_path / "out", Precision.INT8), Quiet())


def test_run_with_nan_weights_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "run"
    shutil.copytree(tiny_run, broken)
    state = load_file(broken / "model.safetensors")
    state["fusion.join.bias"] = np.full_like(state["fusion.join.bias"], np.nan)
    save_file(state, broken / "model.safetensors")
    with pytest.raises(DataError, match="NaN"):
        export_run(_request(broken, tmp_path / "out", Precision.FP32), Quiet())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda run: (run / "model.safetensors").unlink(), "no readable weights"),
        (lambda run: (run / "model.safetensors").write_bytes(b"\0" * 64), "no readable weights"),
        (lambda run: (run / "run.json").unlink(), "training did not finish"),
        (lambda run: (run / "run.json").write_text('{"schema_version": 2}'), "schema version 2"),
    ],
)
def test_run_that_can_not_be_exported_is_refused_and_leaves_nothing(
    tiny_run: Path, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    broken = tmp_path / "run"
    shutil.copytree(tiny_run, broken)
    spoil(broken)
    with pytest.raises(DataError, match=says) as caught:
        export_run(_request(broken, tmp_path / "out", Precision.INT8), Quiet())
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_target_below_a_file_can_not_be_written(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reporter = Quiet()
    with pytest.raises(ConfigError, match="not a writable folder"):
        export_run(_request(tiny_run, tmp_path / "file" / "out", Precision.FP32), reporter)
    assert not reporter.stages


def test_verify_against_the_run_passes_and_sees_a_changed_graph(tiny_run: Path, fp32: Exported, tmp_path: Path) -> None:
    assert not verify(fp32.bundle, tiny_run, (), Quiet()).failures
    other = tmp_path / "bundle"
    shutil.copytree(fp32.bundle, other)
    proto = onnx.load(other / "fusion.onnx")
    weight = next(t for t in proto.graph.initializer if t.name == "fusion.join.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[::-1].copy(), weight.name))
    onnx.save(proto, other / "fusion.onnx")
    manifest = json.loads((other / "manifest.json").read_text()) | {"checksum": ""}
    manifest["graphs"]["fusion"]["sha256"] = hashlib.sha256((other / "fusion.onnx").read_bytes()).hexdigest()
    manifest["graphs"]["fusion"]["bytes"] = (other / "fusion.onnx").stat().st_size
    (other / "manifest.json").write_text(json.dumps(manifest))
    found = verify(other, tiny_run, (), Quiet())
    with pytest.raises(CheckFailed, match="min_cosine"):
        found.raise_if_failed()


def test_bundle_of_another_model_is_not_compared(tiny_run: Path, fp32: Exported, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(tiny_run, other)
    info = json.loads((other / "run.json").read_text())
    info["space_id"] = "0" * 64
    (other / "run.json").write_text(json.dumps(info))
    with pytest.raises(SpaceMismatchError, match="two models"):
        verify(fp32.bundle, other, (), Quiet())


@pytest.mark.parametrize("text", ["icdr_flops=0.1", "min_cosine", "min_cosine=high", "icdr_flips=-1", "kappa_drop=nan"])
def test_unknown_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        parse_budget([text], Precision.INT8)


def test_budget_changes_only_what_it_names() -> None:
    budget = parse_budget(["icdr_flips=0.5, min_cosine=0.97"], Precision.INT8)
    assert (budget.icdr_flips, budget.min_cosine, budget.golden_cosine, budget.kappa_drop) == (0.5, 0.97, 0.93, 0.015)


@pytest.mark.parametrize(("text", "golden"), [("min_cosine=0.9", 0.9), ("min_cosine=0.9,golden_cosine=0.95", 0.95)])
def test_golden_studies_may_lose_no_less_than_patients(text: str, golden: float) -> None:
    assert parse_budget([text], Precision.INT8).golden_cosine == golden


def test_replay_elsewhere_is_held_to_what_was_reached_here(int8: Exported) -> None:
    bundle = Bundle.open(int8.bundle)
    reached, limits = self_test(Engine(bundle, threads=1)).min_cosine, bundle.manifest.tolerances
    allowed = 1 - limits.min_cosine
    assert int8.report["golden"]["min_cosine"] == pytest.approx(reached, abs=1e-6)
    assert limits.golden_cosine == pytest.approx(max(0.93, reached - allowed / 5), abs=1e-6)
    tight = bundle.manifest.model_copy(
        update={"tolerances": limits.model_copy(update={"golden_cosine": reached + allowed / 5})}
    )
    failed = self_test(Engine(dataclasses.replace(bundle, manifest=tight), threads=1)).failures
    assert {failure.quantity.partition(".")[0] for failure in failed} == {"cosine"}


@pytest.mark.parametrize(
    ("target", "reached", "limit"),
    [(Target.ONNX, 0.99, 0.98), (Target.ONNX, 0.944, 0.934), (Target.ONNX, 0.935, 0.93), (Target.TENSORRT, 0.99, 0.93)],
)
def test_limit_of_the_replay(target: Target, reached: float, limit: float) -> None:
    allowed = tolerances(parse_budget([], Precision.INT8), Precision.INT8)
    assert replayed(allowed, target, reached).golden_cosine == pytest.approx(limit)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_the_parity_page_fits_a_telephone_and_the_dark(int8: Exported, width: int, scheme: str) -> None:
    fits_and_is_accessible(int8.html, width, scheme)
