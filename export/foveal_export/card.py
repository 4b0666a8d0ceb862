"""MODEL_CARD.md of a bundle: what it is, its data, its distance from PyTorch, its limits. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal_runtime.manifest import Manifest
from foveal_train.run import RunInfo


def model_card(manifest: Manifest, info: RunInfo, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        manifest: of the bundle.
        info: of the run.
        metrics: the run's metrics.json; empty when it has none.
        parity: the report's document.
    """
    graphs = "\n".join(f"| {name} | {graph.bytes / 1e6:.2f} |" for name, graph in manifest.graphs.items())
    calibrated = [name for name, entry in manifest.calibration.items() if any(p.studies for p in entry.operating_points)]
    fitted = (
        f"Probabilities and operating points were fitted for {', '.join(calibrated)}."
        if calibrated
        else "Operating points were not fitted: too few validation studies; the threshold is 0.5."
    )
    return f"""# {manifest.profile} ({manifest.precision.value.upper()})

A multimodal model for diabetic retinopathy (fundus photograph, clinical note, patient record), exported by foveal
{manifest.foveal_version}. **It is not a medical device.** It has not been assessed by any regulator, and no decision
about a patient may rest on it alone.

## Intended use
Research, and the development of screening software under the supervision of an ophthalmologist: ICDR and SDRG grades,
referable diabetic retinopathy (ICDR >= 2), embeddings for retrieval. It answers for these inputs and no others:
{", ".join(manifest.trained_subsets)}. Trained heads: {", ".join(manifest.trained_heads) or "none"}.

## Data
Trained on {info.train_studies} studies, chosen on {info.validation_studies} validation studies, of:
{", ".join(_kind(spec) for spec in info.data) or "generated data"}.
Seed {info.seed}, best epoch {info.best_epoch} of {info.epochs}.

## Quality on held-out data
{_metrics(metrics)}

## This artefact against PyTorch (FP32)
Compared on {parity.get("source", "no data")}: {parity.get("studies", 0)} answers
in {len(parity.get("subsets", {}))} modality subsets.

| subset | vector | mean cosine | min cosine | neighbour overlap (FP32 index) | ICDR changed |
| --- | --- | --- | --- | --- | --- |
{_parity_rows(parity)}

| graph | MB |
| --- | --- |
{graphs}

{fitted}
Space `{manifest.space_id}`.

## Limits
- Cameras, populations and image quality other than the training data's were not examined unless named above.
- A note that names the diagnosis gives the grade away: figures with notes are not those of grading from a photograph.
- INT8 and FP16 answers differ from FP32's within the tolerances of manifest.json; `foveal verify` checks them where it runs.
"""


def _kind(spec: str) -> str:
    """The kind alone: a path is nobody else's business."""
    return spec.partition(":")[0]


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = list(_flatten(metrics, ""))
    if not rows:
        return "The run carries no held-out metrics."
    lines = [f"| {name} | {value} |" for name, value in rows[:60]]
    return "\n".join(["| figure | value |", "| --- | --- |", *lines])


def _flatten(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if {"value", "low", "high"} <= set(value) and all(isinstance(value[k], int | float) for k in ("value", "low", "high")):
            yield path, f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
            return
        for name, part in value.items():
            yield from _flatten(part, f"{path} {name}".strip())
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float):
        yield path, f"{value:.4g}"
    elif isinstance(value, str) and len(value) < 40:
        yield path, value


def _parity_rows(parity: Mapping[str, Any]) -> str:
    rows = []
    for name, part in parity.get("subsets", {}).items():
        icdr = part["heads"].get("icdr")
        for kind, vector in part["vectors"].items():
            overlap = vector["cross_overlap"]
            near = "" if overlap is None else f"{overlap:.3f}"
            changed = "" if icdr is None else f"{icdr['flips']} of {part['studies']}"
            cosines = f"{vector['mean_cosine']:.5f} | {vector['min_cosine']:.5f}"
            rows.append(f"| {name} | {kind} | {cosines} | {near} | {changed} |")
    return "\n".join(rows)
