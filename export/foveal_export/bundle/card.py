"""MODEL_CARD.md of a bundle: what it is, its data, its distance from PyTorch, its limits. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.bundle.manifest import Manifest
from foveal_runtime.engine.grading import DEFAULT_POINT
from foveal_train.runs.run import RunInfo


def model_card(
    manifest: Manifest, info: RunInfo, metrics: Mapping[str, Any], parity: Mapping[str, Any], about: str = ""
) -> str:
    """The card as Markdown.

    Args:
        manifest: of the bundle.
        info: of the run.
        metrics: the run's metrics.json; empty when it has none.
        parity: the report's document.
        about: Markdown of whoever exports it, that stands first.
    """
    graphs = _files(manifest)
    made = ", ".join(f"{name} {version}" for name, version in manifest.made_with.items())
    first = f"{about.strip()}\n\n" if about.strip() else ""
    return f"""# {manifest.profile} ({manifest.precision.value.upper()})

{first}A multimodal model for diabetic retinopathy (fundus photograph, clinical note, patient record), exported by foveal
{manifest.foveal_version}. **It is not a medical device.** It has not been assessed by any regulator, and no decision
about a patient may rest on it alone.

## Intended use
Research, and the development of screening software under the supervision of an ophthalmologist: ICDR and SDRG grades,
referable diabetic retinopathy (ICDR >= 2), embeddings for retrieval. It answers for these inputs and no others:
{", ".join(manifest.trained_subsets)}. Trained heads: {", ".join(manifest.trained_heads) or "none"}.

## Data
Trained on {info.train_studies} studies, chosen on {info.validation_studies} validation studies, of:
{", ".join(_kind(spec) for spec in info.data) or "generated data"}.
Seed {info.seed}, best epoch {info.best_epoch} of {info.epochs}.{_taught(info)}

## Quality on held-out data
{_metrics(metrics)}

## This artefact against PyTorch (FP32)
Judged on {parity.get("source", "no data")}: {parity.get("studies", 0)} answers
in {len(parity.get("subsets", {}))} modality subsets. What was chosen by measuring was chosen on
{parity.get("searched_on", "no data")}.

| subset | vector | mean cosine | min cosine | neighbour overlap (FP32 index) | ICDR changed |
| --- | --- | --- | --- | --- | --- |
{_parity_rows(parity)}

| graph | MB |
| --- | --- |
{graphs}

Whether held-out studies show that the grades mean anything; where they do not, `foveal serve` gives none unless it is told to:

| input | head | held out, of them grade 2 or worse | kappa, lower bound | AUROC, lower bound | |
| --- | --- | --- | --- | --- | --- |
{_evidence(manifest)}

## When a study is referred
When its calibrated probability of grade 2 or worse reaches the threshold, or when its likeliest grade is 2 or worse. Thresholds
were fitted on validation studies of each input, through this artefact, where these held 29 patients with referable DR or more.

| input | point | threshold | sensitivity (lower bound over patients) | specificity | studies, patients |
| --- | --- | --- | --- | --- | --- |
{_points(manifest)}

Made with {made}.
Space `{manifest.space_id}`.

## Limits
- Cameras, populations and image quality other than the training data's were not examined unless named above.
- A note that names the diagnosis gives the grade away: figures with notes are not those of grading from a photograph.
- INT8 and FP16 answers differ from FP32's within the tolerances of manifest.json; `foveal verify` checks them where it runs.
"""


def embedding_card(manifest: Manifest, source: str, parity: Mapping[str, Any], about: str = "") -> str:
    """The card of a plain encoder that grades nothing, as Markdown.

    Args:
        manifest: of the bundle.
        source: name of the folder in the hub's layout.
        parity: the report's document.
        about: Markdown of whoever exports it, that stands first.
    """
    made = ", ".join(f"{name} {version}" for name, version in manifest.made_with.items())
    first = f"{about.strip()}\n\n" if about.strip() else ""
    return f"""# {source} ({manifest.precision.value.upper()})

{first}The {manifest.profile} of a folder in the hub's layout, `{source}`, exported by foveal
{manifest.foveal_version} without any training. It gives vectors of {manifest.embedding_dim} numbers for
{", ".join(manifest.trained_subsets)}, grades nothing, and **is not a medical device**.
foveal knows nothing of what it was trained on, nor of its licence.

## This artefact against PyTorch (FP32)
Judged on {parity.get("source", "no data")}: {parity.get("studies", 0)} answers.

| subset | vector | mean cosine | min cosine | neighbour overlap (FP32 index) | ICDR changed |
| --- | --- | --- | --- | --- | --- |
{_parity_rows(parity)}

Photographs are scaled as foveal scales them (bicubic), notes are cut to {manifest.text.max_tokens} tokens.

Made with {made}.
Space `{manifest.space_id}`.
"""


def _files(manifest: Manifest) -> str:
    files = {**manifest.graphs, **manifest.every_variant()}
    return "\n".join(f"| {name} | {graph.bytes / 1e6:.2f} |" for name, graph in files.items())


def _evidence(manifest: Manifest) -> str:
    return "\n".join(
        f"| {name} | {head} | {e.studies}, {e.positives} | {_bound(e.kappa, e.kappa_low)} | "
        f"{_bound(e.auroc, e.auroc_low)} | {e.status.value} |"
        for name, heads in manifest.evidence.items()
        for head, e in heads.items()
    )


def _bound(value: float | None, low: float | None) -> str:
    return "" if value is None else f"{value:.3f}, {low:.3f}"


def _taught(info: RunInfo) -> str:
    """Who taught a distilled run, by fingerprint: names of folders are nobody else's business."""
    found = info.distillation
    if found is None:
        return ""
    teachers = "; ".join(f"{each.recipe}, {each.side_px} px, `{each.fingerprint[:12]}`" for each in found.teachers)
    photographs = f", and on {found.unlabelled_studies} photographs without labels" if found.unlabelled_studies else ""
    return (
        f"\nTaught by the answers of other runs (recipe, photographs, fingerprint) on these studies{photographs}: {teachers}."
    )


def _kind(spec: str) -> str:
    """The kind alone: a path is nobody else's business."""
    return spec.partition(":")[0]


def _metrics(metrics: Mapping[str, Any]) -> str:
    """Grading by what the model was given, with 95 % intervals; and what evaluation warned of."""
    inputs = metrics.get("grading", {})
    rows = [_grading(part) for part in inputs.values() if "icdr" in part["heads"] and part["same_as"] is None]
    if not rows:
        return "The run carries no held-out metrics; `foveal evaluate` makes them."
    head = (
        "| input | studies | kappa | accuracy (always the commonest grade) | balanced accuracy | referable AUROC |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    told = (
        f"ICDR on the run's {metrics.get('split', 'held-out')} split, {metrics.get('patients')} patients that training did not "
        f"see; in brackets 95 % intervals by bootstrap over patients. Kappa is quadratic-weighted; referable is ICDR >= 2."
    )
    warned = [f"- {warning}" for warning in metrics.get("warnings", ())]
    return "\n".join([told, "", head, *rows, *(["", *warned] if warned else [])])


def _grading(part: Mapping[str, Any]) -> str:
    icdr = part["heads"]["icdr"]
    majority = _with_interval(icdr["majority"]["accuracy"]).split(" ")[0]
    referable = icdr.get("referable") or {}
    cells = (
        part["title"],
        str(icdr["n"]),
        _with_interval(icdr["kappa"]),
        f"{_with_interval(icdr['accuracy'])} ({majority})",
        _with_interval(icdr["balanced_accuracy"]),
        _with_interval(referable.get("auroc")),
    )
    return f"| {' | '.join(cells)} |"


def _points(manifest: Manifest) -> str:
    rows = []
    for name in manifest.trained_subsets:
        for point in manifest.calibration.get(name, SubsetCalibration()).operating_points or (DEFAULT_POINT,):
            reached = ["not fitted", "", ""]
            if point.studies:
                bound = f" ({_share(point.sensitivity_low)})"
                counts = f"{point.studies}, {point.patients}"
                reached = [_share(point.sensitivity) + bound, _share(point.specificity), counts]
            rows.append(f"| {' | '.join([name, point.name, f'{point.threshold:.3f}', *reached])} |")
    return "\n".join(rows)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _with_interval(figure: Mapping[str, Any] | None) -> str:
    if not figure or figure.get("value") is None:
        return "not defined"
    interval = figure.get("interval")
    return f"{figure['value']:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _parity_rows(parity: Mapping[str, Any]) -> str:
    rows = []
    for name, part in parity.get("subsets", {}).items():
        icdr = part["heads"].get("icdr")
        for kind, vector in part["vectors"].items():
            overlap = vector["cross_overlap"]
            near = "" if overlap is None else f"{overlap:.3f}"
            ties = f", {icdr['near_ties']} near-ties" if icdr is not None and icdr["near_ties"] else ""
            changed = "" if icdr is None else f"{icdr['flips']} of {part['studies']}{ties}"
            cosines = f"{vector['mean_cosine']:.5f} | {vector['min_cosine']:.5f}"
            rows.append(f"| {name} | {kind} | {cosines} | {near} | {changed} |")
    return "\n".join(rows)
