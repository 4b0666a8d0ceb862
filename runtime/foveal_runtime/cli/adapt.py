"""`foveal adapt`: a bundle that is calibrated for this site, from some dozens of its own labelled studies. Trains nothing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import decimals, fitted, width
from foveal_runtime.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.manifest import Manifest
    from foveal_runtime.engine.adapt import Adaptation, LabelledStudy

_CARD = "MODEL_CARD.md"


def adapt(
    bundle: Path,
    /,
    *,
    data: Annotated[list[str], Parameter(name=["--data"], negative=(), consume_multiple=False)],
    site: str,
    out: Path,
    sign: Path | None = None,
    public_key: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    threads: int | None = None,
    json: Json = False,
) -> None:
    """Calibrate a bundle for a site: temperature, prior, referral thresholds and grade sets, on its own labelled studies.

    Needs 50 to 500 studies with their ICDR grade, and no PyTorch. The graphs stay as they are: vectors remain comparable with
    those in the archive. Figures are of studies that the fit behind them did not see; the new bundle replays its golden
    studies before it is written. Exit code 1 when that fails, 2 when something is unusable.

    For example:

        foveal adapt bundles/edge --data folder:/data/clinic --site "Clinic 12" --out bundles/edge-clinic-12
        foveal diff bundles/edge bundles/edge-clinic-12 --data folder:/data/clinic-later

    Args:
        bundle: the bundle to adapt.
        data: labelled data set as kind:path; repeat for several.
        site: what the site is called; it stands in the bundle.
        out: folder of the new bundle.
        sign: PEM private key (Ed25519) that signs the new bundle.
        public_key: PEM public key (Ed25519) that must have signed the bundle.
        force: replace a bundle at `out`.
        threads: threads in one graph call; default: every core this process may use.
        json: print what changed as one JSON document.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.signing import read_private_key, read_public_key
    from foveal_runtime.bundle.writing import check_target, staging
    from foveal_runtime.cli.progress import Progress
    from foveal_runtime.engine.adapt import adapt as fit
    from foveal_runtime.engine.adapt import ask
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.selftest import self_test

    check_target(out, force=force)
    key = None if sign is None else read_private_key(sign)
    opened = Bundle.open(bundle, signed_by=None if public_key is None else read_public_key(public_key))
    if not opened.manifest.trained_heads:
        raise ConfigError(f"{bundle} has no trained grading head, so there is nothing to calibrate; name a bundle that grades")
    engine = Engine(opened, threads=threads)
    studies = _studies(data, opened.manifest)
    with Progress(len(studies), "asking the bundle", lines=not json) as advance:
        asked = ask(engine, studies, advance)
    found = fit(engine, asked)
    with staging(out, force=force) as folder:
        manifest = _write(opened, folder, found, site, key)
        report = self_test(Engine(Bundle.open(folder), threads=threads))
        if not report.passed:
            raise CheckFailed(f"the adapted bundle fails its golden replay: {report.failures[0]}; {out} was not written")
    document = {
        "schema_version": 1,
        "bundle": str(out),
        "site": site,
        "adapted_from": opened.sha256,
        "signed": key is not None,
        "subsets": found.figures,
        "unchanged": sorted(set(opened.manifest.trained_subsets) - set(found.figures)),
        "thresholds": {name: _points(opened.manifest, manifest, name) for name in found.figures},
    }
    if json:
        print_json(document)
    else:
        sys.stdout.write(fitted(screen(document), width()))


def _studies(specs: list[str], manifest: Manifest) -> list[LabelledStudy]:
    from foveal_runtime.cli.rooms import samples_of
    from foveal_runtime.engine.adapt import LabelledStudy

    found = []
    for sample in samples_of(specs):
        places = {head: sample.labels.place(head, manifest.heads[head]) for head in manifest.trained_heads}
        labels = {head: place for head, place in places.items() if place is not None}
        if labels:
            found.append(LabelledStudy(load=sample.study, patient=sample.patient_id, labels=labels))
    return found


def _write(opened: Bundle, folder: Path, found: Adaptation, site: str, key: Any) -> Manifest:
    """The same files with another calibration; the card says so."""
    from foveal_runtime.bundle.bundle import MANIFEST, sha256_file
    from foveal_runtime.bundle.calibration import Adapted
    from foveal_runtime.bundle.manifest import ADAPTED_SCHEMA_VERSION
    from foveal_runtime.bundle.signing import SIGNATURE
    from foveal_runtime.bundle.writing import write_manifest

    shutil.copytree(opened.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST, SIGNATURE))
    old = opened.manifest
    if (card := folder / _CARD).is_file():
        card.write_text(card.read_text(encoding="utf-8") + _section(found, site, opened.sha256), encoding="utf-8")
    manifest = old.model_copy(
        update={
            "schema_version": ADAPTED_SCHEMA_VERSION,
            "calibration": found.calibration,
            "adapted": Adapted(site=site, bundle_sha256=opened.sha256, figures=found.figures),
            "files": {name: sha256_file(folder / name) for name in old.files},
        }
    )
    write_manifest(folder, manifest, key)
    return manifest


def _section(found: Adaptation, site: str, sha256: str) -> str:
    lines = [
        "\n## Adapted to a site\n",
        f"Calibrated for {site} from bundle `{sha256[:12]}`, of which the figures above are. On the site's own studies, each",
        "judged by a calibration that was fitted without its patient:\n",
        "| | studies | kappa | calibration error (of a perfect model) | sensitivity / specificity |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, figures in found.figures.items():
        for side in ("before", "after"):
            row = figures[side]
            error = f"{row['calibration_error']:.3f} ({row['calibration_error_if_perfect']:.3f})"
            rates = f"{decimals(row['sensitivity'])} / {decimals(row['specificity'])}"
            lines.append(f"| {name}, {side} | {figures['studies']} | {decimals(row['kappa'])} | {error} | {rates} |")
    return "\n".join(lines) + "\n"


def _points(old: Manifest, new: Manifest, subset: str) -> dict[str, dict[str, float | None]]:
    from foveal_runtime.bundle.calibration import SubsetCalibration

    none = SubsetCalibration()
    sides = (side.calibration.get(subset, none).operating_points for side in (old, new))
    before, after = ({point.name: point.threshold for point in points} for points in sides)
    return {name: {"old": before.get(name), "new": after.get(name)} for name in {**before, **after}}


def screen(document: dict[str, Any]) -> str:
    """The document for people."""
    rows = [f"{document['bundle']}: calibrated for {document['site']}, from bundle {document['adapted_from'][:12]}"]
    for name, figures in document["subsets"].items():
        left = [f"{figures[key]} {key}" for key in ("ungradable", "unusable") if figures[key]]
        rows.append(", ".join([f"{name}: {figures['studies']} labelled studies of {figures['patients']} patients", *left]))
        for side in ("before", "after"):
            row = figures[side]
            perfect = f"a perfect model's: {row['calibration_error_if_perfect']:.3f}"
            error = f"calibration error {row['calibration_error']:.3f} ({perfect})"
            rates = f"sensitivity {decimals(row['sensitivity'])}, specificity {decimals(row['specificity'])}"
            sets = (
                f", grade sets cover {row['set_coverage']:.2f} with {row['set_size']:.2f} grades" if "set_size" in row else ""
            )
            rows.append(f"  {side}: kappa {decimals(row['kappa'])}, {error}, {rates}{sets}")
        for point, value in document["thresholds"][name].items():
            rows.append(f"  threshold {point}: {decimals(value['old'])} to {decimals(value['new'])}")
        if not figures["fitted_points"]:
            rows.append("  too few referable patients to fit thresholds: they refer all that the bundle's own refer")
    if document["unchanged"]:
        rows.append(f"unchanged, for too few labels: {', '.join(document['unchanged'])}")
    return "\n".join(rows) + "\n"
