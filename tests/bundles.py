"""Small bundles with hand-made graphs, for tests of the runtime alone. No model was trained; the numbers mean nothing.

The graphs keep the contract of DESIGN sections 4 and 6, and `reference` computes the same functions in NumPy, so that golden
outputs do not come from the code under test. Two hidden words make trouble on purpose, inside the graph as a faulty
model would: a note with "breaks" fails its whole call, and one with "hangs" never returns.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from foveal_runtime import __version__
from foveal_runtime.bundle.calibration import OperatingPoint, SubsetCalibration
from foveal_runtime.bundle.golden import write_golden
from foveal_runtime.bundle.manifest import Cpu, Evidence, Graph, HeadEvidence, Manifest, Precision, Tensor, Tolerances
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.novelty import FILE, TrainingPhotographs
from foveal_runtime.photo.imaging import Crop, ImageSpec, load_square, standardise
from foveal_runtime.study.labels import ICDR, SCHEME_CLASSES, Head
from foveal_runtime.study.notes import NoteTokeniser, TextSpec
from foveal_runtime.study.record import FeatureStats, encode_record
from foveal_runtime.study.study import ALL_SUBSETS, Eye, Modality, Record, Sex, Study, subset_name

D, SIDE_PX, CELL_PX, KEPT = 256, 32, 8, 6
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "breaks", "hangs", "macula", "edema", "drusen", "retina", "healthy", "the", "of")
BREAKS, HANGS = WORDS.index("breaks"), WORDS.index("hangs")
EVERY_SUBSET = tuple(subset_name(s) for s in ALL_SUBSETS)
RECORD = Record(age_years=61.0, sex=Sex.FEMALE, eye=Eye.LEFT, diabetes_years=12.0, insulin=True, diabetes=True)


@lru_cache(maxsize=256)
def photograph(seed: int = 0, *, width: int = 320, height: int = 240, format: str = "JPEG") -> bytes:
    """A drawn fundus: disc, macula, vessels, uneven light. Enough for preprocessing and for the gradability check."""
    rng = np.random.default_rng(seed)
    size, radius = (width, height), min(width, height) * 0.48
    y, x = (np.mgrid[:height, :width] - np.array([height, width]).reshape(2, 1, 1) / 2) / radius
    side = 1 if rng.random() < 0.5 else -1
    vessels = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(vessels)
    for vessel in range(24):
        angle, bend, along = rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.6), np.linspace(0, 1.6, 24)
        across, down = 0.5 * side + along * np.cos(angle + bend * along), along * np.sin(angle + bend * along)
        points = [(float(width + 2 * radius * a), float(height + 2 * radius * b)) for a, b in zip(across, down, strict=True)]
        draw.line(points, fill=255 if vessel % 2 else 150, width=max(1, round(radius * rng.uniform(0.02, 0.06))))
    macula = np.exp(-((x + 0.1 * side) ** 2 + y**2) / 0.03)
    blood = np.maximum(np.asarray(vessels.resize(size, Image.Resampling.BOX), np.float64) / 255, 0.6 * macula)
    light = (1.05 - 0.35 * (x * x + y * y)) * (x * x + y * y < 1)
    for cells, depth in (((18, 14), 0.16), ((60, 45), 0.05), ((width // 2, height // 2), 0.15)):
        grains = Image.fromarray(rng.integers(0, 255, cells[::-1], dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        light *= 1 + depth * (np.asarray(grains) / 255 - 0.5)
    disc = np.exp(-((((x - 0.5 * side) ** 2 + y**2) / 0.018) ** 2))
    colours = ((185, 60, 0.25), (92, 110, 0.5), (45, 80, 0.4))  # of the retina, what the disc adds, what blood takes
    rgb = np.stack([light * (level + glow * disc) * (1 - taken * blood) for level, glow, taken in colours], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(rgb.clip(0, 255).astype(np.uint8)).save(buffer, format, quality=92)
    return buffer.getvalue()


def tokenizer_json() -> bytes:
    """A word-level tokenizer of `WORDS`."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str().encode()


def weights(seed: int, heads: Mapping[Head, Sequence[str]] = SCHEME_CLASSES) -> dict[str, np.ndarray]:
    """All weights, float32; those of the heads last."""
    rng = np.random.default_rng(seed)
    cells = (SIDE_PX // CELL_PX) ** 2

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return {
        "pixel": normal(3, D),
        "place": normal(cells, D),
        "type": normal(3, D),
        "word": normal(len(WORDS), D),
        "feature": normal(6, D),
        "join": normal(3 * D, D) / 16,
        **{head: 4 * normal(D, len(classes)) for head, classes in heads.items()},
    }


def heads_of(w: dict[str, np.ndarray]) -> list[Head]:
    """Names of the heads that have weights."""
    return list(w)[list(w).index("join") + 1 :]


def _const(name: str, value: Any, dtype: type = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def _model(
    nodes: list[Any], inputs: dict[str, tuple[int, list[Any]]], outputs: dict[str, list[Any]], constants: list[Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def image_graph(w: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Cells' mean colours, projected; the CLS is their mean."""
    n = helper.make_node
    nodes = [
        n("AveragePool", ["pixels_BCHW"], ["cells"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
        n("Reshape", ["cells", "flat"], ["cells3"]),
        n("Transpose", ["cells3"], ["cellsT"], perm=[0, 2, 1]),
        n("MatMul", ["cellsT", "pixel"], ["projected"]),
        n("Add", ["projected", "place"], ["tokens"]),
        n("ReduceMean", ["tokens", "axis1"], ["cls"], keepdims=1),
        n("Concat", ["cls", "tokens"], ["joined"], axis=1),
        n("Add", ["joined", "type"], ["tokens_BTD"]),
    ]
    constants = [
        _const("flat", [0, 3, -1]),
        _const("axis1", [1]),
        numpy_helper.from_array(w["pixel"], "pixel"),
        numpy_helper.from_array(w["place"], "place"),
        numpy_helper.from_array(w["type"][0], "type"),
    ]
    return _model(
        nodes,
        {"pixels_BCHW": (TensorProto.FLOAT, ["batch", 3, SIDE_PX, SIDE_PX])},
        {"tokens_BTD": ["batch", 1 + len(w["place"]), D]},
        constants,
    )


def text_graph(w: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Word vectors; the CLS is their masked mean. Two words make trouble, see the module's docstring."""
    n = helper.make_node
    # Suppression of 2**22 equal boxes, none of which suppresses another, for the word "hangs": 2**43 comparisons. Of none for
    # the others. A Loop would be refused when the bundle is opened.
    nodes = [
        n("Equal", ["input_ids_BT", "hangs"], ["is_hang"]),
        n("Cast", ["is_hang"], ["hang_i"], to=TensorProto.INT64),
        n("ReduceMax", ["hang_i"], ["any_hang0"], keepdims=0),
        n("Unsqueeze", ["any_hang0", "zero1"], ["any_hang"]),
        n("Mul", ["any_hang", "forever"], ["many"]),
        n("Concat", ["one1", "many", "four"], ["boxes_shape"], axis=0),
        n("Concat", ["one1", "one1", "many"], ["scores_shape"], axis=0),
        n("Expand", ["box", "boxes_shape"], ["boxes"]),
        n("Expand", ["score", "scores_shape"], ["scores"]),
        n("NonMaxSuppression", ["boxes", "scores", "forever", "overlap"], ["selected"]),
        n("ReduceSum", ["selected"], ["numbers"], keepdims=0),
        n("Mul", ["numbers", "zero"], ["nothing"]),
        # The word "breaks" becomes an index outside the table: the call fails as a whole.
        n("Equal", ["input_ids_BT", "breaks"], ["is_break"]),
        n("Cast", ["is_break"], ["break_i"], to=TensorProto.INT64),
        n("Mul", ["break_i", "far"], ["jump"]),
        n("Add", ["input_ids_BT", "jump"], ["ids0"]),
        n("Add", ["ids0", "nothing"], ["ids"]),
        n("Gather", ["word", "ids"], ["tokens"], axis=0),
        n("Cast", ["attention_mask_BT"], ["mask"], to=TensorProto.FLOAT),
        n("Unsqueeze", ["mask", "last"], ["mask3"]),
        n("Mul", ["tokens", "mask3"], ["masked"]),
        n("ReduceSum", ["masked", "axis1"], ["total"], keepdims=1),
        n("ReduceSum", ["mask3", "axis1"], ["count"], keepdims=1),
        n("Div", ["total", "count"], ["cls"]),
        n("Slice", ["tokens", "from", "to", "axis1"], ["kept"]),
        n("Concat", ["cls", "kept"], ["joined"], axis=1),
        n("Add", ["joined", "type"], ["tokens_BTD"]),
    ]
    constants = [
        _const("hangs", HANGS),
        _const("breaks", BREAKS),
        _const("forever", [2**22]),
        _const("zero", 0),
        _const("zero1", [0]),
        _const("one1", [1]),
        _const("four", [4]),
        _const("box", [[[0, 0, 1, 1]]], np.float32),
        _const("score", [[[0.5]]], np.float32),
        _const("overlap", [1.0], np.float32),
        _const("far", 10**6),
        _const("last", [-1]),
        _const("axis1", [1]),
        _const("from", [1]),
        _const("to", [1 + KEPT]),
        numpy_helper.from_array(w["word"], "word"),
        numpy_helper.from_array(w["type"][1], "type"),
    ]
    return _model(
        nodes,
        {
            "input_ids_BT": (TensorProto.INT64, ["batch", "tokens"]),
            "attention_mask_BT": (TensorProto.INT64, ["batch", "tokens"]),
        },
        {"tokens_BTD": ["batch", "kept", D]},
        constants,
    )


def structured_graph(w: dict[str, np.ndarray]) -> onnx.ModelProto:
    """One projected feature vector, twice."""
    n = helper.make_node
    nodes = [
        n("MatMul", ["features_BF", "feature"], ["vector"]),
        n("Unsqueeze", ["vector", "axis1"], ["token"]),
        n("Concat", ["token", "token"], ["joined"], axis=1),
        n("Add", ["joined", "type"], ["tokens_BTD"]),
    ]
    constants = [
        _const("axis1", [1]),
        numpy_helper.from_array(w["feature"], "feature"),
        numpy_helper.from_array(w["type"][2], "type"),
    ]
    return _model(nodes, {"features_BF": (TensorProto.FLOAT, ["batch", 6])}, {"tokens_BTD": ["batch", 2, D]}, constants)


def fusion_graph(w: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Each CLS attends to all tokens once; joint is a projection of the three; two linear heads."""
    n = helper.make_node
    nodes = [
        n("Slice", ["tokens_BTD", "zero1", "three", "axis1"], ["query"]),
        n("Transpose", ["tokens_BTD"], ["keys"], perm=[0, 2, 1]),
        n("MatMul", ["query", "keys"], ["dots"]),
        n("Mul", ["dots", "scale"], ["scores"]),
        n("Cast", ["mask_BT"], ["mask"], to=TensorProto.FLOAT),
        n("Sub", ["mask", "one"], ["minus"]),
        n("Mul", ["minus", "huge"], ["bias"]),
        n("Unsqueeze", ["bias", "axis1"], ["bias3"]),
        n("Add", ["scores", "bias3"], ["biased"]),
        n("Softmax", ["biased"], ["attention"], axis=-1),
        n("MatMul", ["attention", "tokens_BTD"], ["seen"]),
        n("Slice", ["mask", "zero1", "three", "axis1"], ["present"]),
        n("Unsqueeze", ["present", "last"], ["present3"]),
        n("Mul", ["seen", "present3"], ["cls"]),
        n("LpNormalization", ["cls"], ["unit"], axis=-1, p=2),
        n("Mul", ["unit", "present3"], ["cls_BMD"]),
        n("Reshape", ["cls", "flat"], ["long"]),
        n("MatMul", ["long", "join"], ["joined"]),
        n("LpNormalization", ["joined"], ["joint_BD"], axis=-1, p=2),
        *(n("MatMul", ["joint_BD", head], [f"{head}_BG"]) for head in heads_of(w)),
    ]
    constants = [
        _const("zero1", [0]),
        _const("three", [3]),
        _const("axis1", [1]),
        _const("last", [-1]),
        _const("flat", [0, 3 * D]),
        _const("scale", 1 / 64, np.float32),
        _const("one", 1, np.float32),
        _const("huge", 1e9, np.float32),
        *(numpy_helper.from_array(w[k], k) for k in ("join", *heads_of(w))),
    ]
    return _model(
        nodes,
        {"tokens_BTD": (TensorProto.FLOAT, ["batch", "tokens", D]), "mask_BT": (TensorProto.BOOL, ["batch", "tokens"])},
        {"joint_BD": ["batch", D], "cls_BMD": ["batch", 3, D], **{f"{h}_BG": ["batch", w[h].shape[1]] for h in heads_of(w)}},
        constants,
    )


def reference(w: dict[str, np.ndarray], item: Prepared, sees: frozenset[Modality]) -> dict[str, np.ndarray]:
    """The graphs' functions in NumPy, for one study seen through `sees`."""
    parts: dict[Modality, np.ndarray] = {}
    if Modality.IMAGE in sees and item.pixels_CHW is not None:
        k = SIDE_PX // CELL_PX
        cells = item.pixels_CHW.reshape(3, k, CELL_PX, k, CELL_PX).mean(axis=(2, 4)).reshape(3, -1).T
        tokens = cells @ w["pixel"] + w["place"]
        parts[Modality.IMAGE] = np.concatenate([tokens.mean(0, keepdims=True), tokens]) + w["type"][0]
    if Modality.TEXT in sees and item.ids_T is not None:
        tokens = w["word"][item.ids_T]
        parts[Modality.TEXT] = np.concatenate([tokens.mean(0, keepdims=True), tokens[1 : 1 + KEPT]]) + w["type"][1]
    if Modality.STRUCTURED in sees and item.features_F is not None:
        parts[Modality.STRUCTURED] = np.stack([item.features_F @ w["feature"]] * 2) + w["type"][2]
    everything = np.concatenate(list(parts.values()))
    cls = np.zeros((3, D), np.float32)
    for row, modality in enumerate(Modality):
        if modality in parts:
            scores = everything @ parts[modality][0] / 64
            attention = np.exp(scores - scores.max())
            cls[row] = attention @ everything / attention.sum()
    joint = cls.reshape(-1) @ w["join"]
    joint /= np.linalg.norm(joint)
    norms = np.linalg.norm(cls, axis=1, keepdims=True)
    return {
        "joint": joint,
        "cls": np.divide(cls, norms, out=np.zeros_like(cls), where=norms > 0),
        **{head: joint @ w[head] for head in heads_of(w)},
    }


def golden_studies() -> list[Study]:
    """One study a subset."""
    whole = Study(image=photograph(7), note="macula edema of the retina", record=RECORD)
    return [
        Study(id=f"golden-{i}", image=part.image, note=part.note, record=part.record)
        for i, part in enumerate(whole.only(subset) for subset in ALL_SUBSETS)
    ]


def write_bundle(
    path: Path,
    *,
    seed: int = 0,
    trained_subsets: Sequence[str] = EVERY_SUBSET,
    heads: Mapping[Head, Sequence[str]] = SCHEME_CLASSES,
    trained_heads: Sequence[Head] | None = None,
    one_at_a_time: Sequence[str] = (),
    aligned: Sequence[Modality] = tuple(Modality),
    golden_shift: float = 0.0,
    evidence: Evidence = Evidence.PROVEN,
    cpu: Cpu | None = None,
) -> Path:
    """Write a whole bundle.

    Args:
        path: its folder.
        seed: of the weights.
        trained_subsets: what it answers.
        heads: classes by head.
        trained_heads: heads it grades by; None is all.
        one_at_a_time: graphs that take one study a call.
        aligned: modalities whose vectors are comparable.
        golden_shift: falsifies the golden logits, for a self-test that must fail.
        evidence: what the manifest says of every head.
        cpu: processors that it says it is right on.
    """
    w = weights(seed, heads)
    trained_heads = tuple(heads if trained_heads is None else trained_heads)
    path.mkdir(parents=True)
    makers = {"image": image_graph, "text": text_graph, "structured": structured_graph, "fusion": fusion_graph}
    graphs = {}
    for name, make in makers.items():
        model = make(w)
        data = model.SerializeToString()
        (path / f"{name}.onnx").write_bytes(data)
        graphs[name] = Graph(
            file=f"{name}.onnx",
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            inputs=tuple(_tensor(v) for v in model.graph.input),
            outputs=tuple(_tensor(v) for v in model.graph.output),
            one_at_a_time=name in one_at_a_time,
        )
    (path / "tokenizer.json").write_bytes(tokenizer_json())
    spec = ImageSpec(side_px=SIDE_PX, crop=Crop.FIELD)
    text = TextSpec(max_tokens=12, kept_tokens=KEPT)
    stats = FeatureStats()
    tokenise = NoteTokeniser(tokenizer_json(), text)
    studies = [s for s in golden_studies() if subset_name(s.modalities) in trained_subsets]
    rows = []
    for study in studies:
        item = Prepared(
            subset=study.modalities,
            pixels_CHW=standardise(load_square(study.image, spec), spec) if study.image else None,
            ids_T=tokenise(study.note).ids_T if study.note else None,
            features_F=encode_record(study.record, stats).features_F if study.record else None,
        )
        row = reference(w, item, item.subset)
        alone = [reference(w, item, frozenset({m}))["cls"] if m in item.subset else np.zeros((3, D)) for m in Modality]
        row["cls"] = np.stack([alone[i][i] for i in range(3)])
        rows.append(row)
    outputs = {name: np.stack([r[name] for r in rows]).astype(np.float32) for name in ("joint", "cls", *heads)}
    outputs["icdr"][:, 0] += golden_shift
    write_golden(path / "golden", studies, outputs)
    files = {
        str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(path.rglob("*"))
        if f.is_file() and f.suffix != ".onnx"
    }
    manifest = Manifest(
        foveal_version=__version__,
        profile="hand-made",
        precision=Precision.FP32,
        cpu=cpu,
        space_id=hashlib.sha256(b"%d" % seed).hexdigest(),
        embedding_dim=D,
        graphs=graphs,
        files=files,
        image=spec,
        text=text,
        features=stats,
        heads={head: tuple(classes) for head, classes in heads.items()},
        trained_heads=trained_heads,
        trained_subsets=tuple(trained_subsets),
        aligned=tuple(aligned),
        calibration={
            "image": SubsetCalibration(
                temperature={ICDR: 2.0},
                operating_points=(
                    OperatingPoint(name="screening", threshold=0.3, sensitivity=0.9, specificity=0.8, studies=50),
                ),
            )
        },
        evidence={name: {head: HeadEvidence(status=evidence) for head in trained_heads} for name in trained_subsets},
        tolerances=Tolerances(
            min_cosine=0.9999, max_abs_embedding=1e-4, max_abs_probability=1e-3, icdr_flips=0.0, referable_flips=0.0
        ),
    )
    (path / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json"), indent=1))
    return path


def add_variant(
    path: Path, graph: str, name: str, *, seed: int = 0, cpu: Cpu | None = None, for_gpu: bool = False, inputs: object = None
) -> str:
    """Give a bundle another file for a graph: the same function of `seed`, in other bytes.

    Args:
        path: of the bundle.
        graph: its name in the manifest; image or structured.
        name: of the variant.
        seed: of the weights; another one than the bundle's is far out of tolerance.
        cpu: processors that it says it is right on.
        for_gpu: what the manifest says of it.
        inputs: what the manifest says of its inputs; None is the truth.

    Returns:
        SHA-256 of the file.
    """
    model = {"image": image_graph, "structured": structured_graph}[graph](weights(seed))
    model.doc_string = name
    data, file = model.SerializeToString(), f"{graph}.{name}.onnx"
    (path / file).write_bytes(data)
    document = json.loads((path / "manifest.json").read_text())
    sha256 = hashlib.sha256(data).hexdigest()
    changes = {"file": file, "sha256": sha256, "bytes": len(data), "cpu": cpu, "for_gpu": for_gpu, "scheme": name}
    entry = document["graphs"][graph] | changes | ({} if inputs is None else {"inputs": inputs})
    document["variants"].setdefault(graph, {})[name] = entry
    (path / "manifest.json").write_text(json.dumps(document, indent=1))
    return sha256


def add_trust(path: Path, *, limit: float, quantile: float = 1.0) -> None:
    """Give a bundle a measure of unlikeness and a rule for grade sets of photographs.

    Args:
        path: of the bundle.
        limit: distance from the origin, in the image tokens' own units, beyond which a photograph is unlike the training's.
        quantile: of the rule; 1 takes all grades in.
    """
    axes = np.eye(4, D, dtype=np.float32)
    ones = np.ones(4, np.float32)
    TrainingPhotographs(mean_D=np.zeros(D, np.float32), axes_KD=axes, variances_K=ones, rest=ones[:1]).write(path)
    document = json.loads((path / "manifest.json").read_text())
    document["files"][FILE] = hashlib.sha256((path / FILE).read_bytes()).hexdigest()
    document["novelty"] = {"file": FILE, "limit": limit, "studies": 50}
    document["calibration"]["image"]["grade_set"] = {"coverage": 0.9, "quantile": quantile, "studies": 50}
    (path / "manifest.json").write_text(json.dumps(document, indent=1))


def add_occlusion(path: Path, *, drop_low: float = 0.1, studies: int = 16) -> Path:
    """Have a bundle say that its evidence maps were checked; the path, again."""
    document = json.loads((path / "manifest.json").read_text())
    document["occlusion"] = {"studies": studies, "drop": drop_low + 0.1, "drop_low": drop_low}
    (path / "manifest.json").write_text(json.dumps(document, indent=1))
    return path


_DTYPES = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64", TensorProto.BOOL: "bool"}


def _tensor(value: Any) -> Tensor:
    kind = value.type.tensor_type
    return Tensor(
        name=value.name, dtype=_DTYPES[kind.elem_type], shape=tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
    )


def open_engine(path: Path) -> Engine:
    """An engine of one thread on a bundle."""
    from foveal_runtime.bundle.bundle import Bundle

    return Engine(Bundle.open(path), threads=1)
