"""One bundle's answers as processors of different classes compute them: how far apart, and which decisions differ.

    python benchmarks/processor_classes.py compare BUNDLE --run RUN --data SPEC --emulate Haswell --json OUT.json
    python benchmarks/processor_classes.py untrained base OUT      # a run with random weights, to export and compare

The same prepared studies go through the bundle's graphs three times: with the kernels that ONNX Runtime takes on this
processor, with INT8 products added in 32 bits (what VNNI computes; exact on all, tests/export/quantise/test_saturation.py),
and, with --emulate, under `qemu-x86_64 -cpu NAME`, whose Haswell has AVX2 and neither AVX-512 nor VNNI. A decision is a grade
of either scheme or the referral, calibrated as they are served.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu, Manifest
from foveal_runtime.engine.answers import Outcome, Prepared, VectorKind, trained_kinds
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.grading import grade
from foveal_runtime.engine.processor import this_processor
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.study import subset_name, subset_of

app = cyclopts.App(help=__doc__)
BATCH = 8
_PARTS = ("pixels_CHW", "ids_T", "features_F")
_NONE = -1

Arrays = dict[str, npt.NDArray[Any]]


@app.command
def compare(
    bundle: Path,
    /,
    *,
    run: Path,
    data: Annotated[list[str] | None, Parameter(name=["--data"], negative=(), consume_multiple=False)] = None,
    studies: int = 100,
    emulate: str | None = None,
    threads: int = 2,
    json_: Annotated[Path | None, Parameter(name=["--json"])] = None,
) -> None:
    """Compare.

    Parameters
    ----------
    bundle
        Folder that `foveal export` wrote.
    run
        The run it came from.
    data
        Data sets as kind:path; what the run held out by default.
    studies
        Answers compared, shared out among the modality subsets.
    emulate
        Processor that qemu emulates, for example Haswell; none by default.
    threads
        Threads in one graph call.
    json_
        Write the figures here.
    """
    from foveal_export.studies import cases
    from foveal_train.runs.reference import Reference
    from foveal_train.runs.run import Run, write_json

    opened, source = Bundle.open(bundle), Run.open(run)
    reference = Reference(source.model, source.tokenizer_json, source.info)
    chosen = cases.choose(source, data or None)
    modalities = frozenset().union(*source.info.subsets)
    held_out = cases.prepare(reference, cases.sampled(chosen.parity, studies), modalities)
    checks = cases.by_subset(held_out, source.info.subsets, studies)
    prepared = [case.prepared for part in checks.values() for case in part]
    expected = reference.run_prepared(prepared, frozenset({VectorKind.JOINT})).joint_ND
    del reference, source
    found: dict[str, Arrays] = {"VNNI (32-bit sums)": ask(opened, prepared, exact=True, threads=threads)}
    if opened.manifest.runs_on is Cpu.ANY or not this_processor().saturates:
        found[f"{this_processor()} (native)"] = ask(opened, prepared, exact=False, threads=threads)
    if emulate is not None:
        found[f"{emulate} (qemu)"] = _emulated(opened, prepared, emulate)
    exact = found["VNNI (32-bit sums)"]
    document = {
        "bundle": opened.sha256,
        "profile": opened.manifest.profile,
        "precision": opened.manifest.precision.value,
        "runs_on": opened.manifest.runs_on.value,
        "machine": {"class": str(this_processor()), "model": this_processor().model},
        "source": f"held-out studies of {', '.join(each.partition(':')[0] for each in data)}" if data else chosen.source,
        "studies": len(prepared),
        "classes": {
            name: {
                "mean_cosine_with_pytorch": _mean_cosine(answers["joint"], expected),
                "mean_cosine_with_vnni": _mean_cosine(answers["joint"], exact["joint"]),
                "least_cosine_with_vnni": float((answers["joint"] * exact["joint"]).sum(axis=1).min()),
                "decisions_changed": int((answers["decisions"] != exact["decisions"]).sum()),
                "decisions": int((exact["decisions"] != _NONE).sum()),
            }
            for name, answers in found.items()
        },
    }
    write_json(json_ if json_ is not None else Path("/dev/stdout"), document)


@app.command
def untrained(profile: str, out: Path, /, *, patients: int = 16) -> None:
    """Write a run of random weights with generated studies: for `base`, whose pretrained weights need a hub.

    Parameters
    ----------
    profile
        tiny, edge or base.
    out
        Folder to write run and data to.
    patients
        Generated patients, four photographs each.
    """
    from foveal_runtime.study.labels import SCHEMES
    from foveal_runtime.study.record import FeatureStats
    from foveal_runtime.study.study import ALL_SUBSETS, Modality
    from foveal_train.data import load, split_patients
    from foveal_train.data.synthetic.writer import synthesise
    from foveal_train.model.weights import build_model
    from foveal_train.runs.run import SPLIT_FILE, RunInfo, space_id, write_json, write_run
    from foveal_train.training.recipe_file import load_recipe

    synthesise(out / "data", patients=patients, seed=3, side_px=256, balanced=True)
    config = load_recipe(profile).model
    config = dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, weights="random"),
        text=dataclasses.replace(config.text, weights="random"),
    )
    built, features, spec = build_model(config, seed=0), FeatureStats(spec=config.record_spec), f"brset:{out / 'data'}"
    info = RunInfo(
        foveal_version="", recipe={"profile": profile}, model=built.config, data=(spec,), seed=0, features=features,
        trained_heads=SCHEMES, trained_subsets=tuple(subset_name(s) for s in ALL_SUBSETS), aligned=tuple(Modality),
        space_id=space_id(built.model, built.config, features, built.tokenizer_json),
    )  # fmt: skip
    write_run(out / "run", info, built.model, built.tokenizer_json)
    parts = split_patients(load(spec).samples, fractions=(0.5, 0.25, 0.25))
    split = {name: [s.id for s in getattr(parts, name)] for name in ("train", "validation", "test")}
    write_json(out / "run" / SPLIT_FILE, split)


@app.command
def answers(bundle: Path, studies: Path, out: Path, /) -> None:
    """Answer prepared studies on this processor: what `compare` runs under the emulator.

    Parameters
    ----------
    bundle
        Folder that `foveal export` wrote.
    studies
        NumPy file that `compare` wrote.
    out
        NumPy file to write the answers to.
    """
    np.savez(out, allow_pickle=False, **ask(Bundle.open(bundle), _read(studies), exact=False, threads=1))


def ask(bundle: Bundle, prepared: Sequence[Prepared], *, exact: bool, threads: int) -> Arrays:
    """Joint vectors [N, D] and decisions [N, 3]: both grades and the referral, `_NONE` where there is none."""
    engine = Engine(bundle, threads=threads, exact=exact)
    kinds = trained_kinds(bundle.manifest)
    outcomes = [
        outcome
        for start in range(0, len(prepared), BATCH)
        for outcome in engine.run(list(prepared[start : start + BATCH]), kinds=kinds)
    ]
    decisions = [_decisions(outcome, bundle.manifest) for outcome in outcomes]
    return {"joint": np.stack([o.vectors[VectorKind.JOINT] for o in outcomes]), "decisions": np.asarray(decisions)}


def _decisions(outcome: Outcome, manifest: Manifest) -> list[int]:
    grades = grade(outcome, manifest)
    schemes = [grades.schemes[head].grade for head in sorted(grades.schemes)]
    return [*schemes, *[_NONE] * (2 - len(schemes)), _NONE if grades.referable is None else int(grades.referable.decision)]


def _emulated(bundle: Bundle, prepared: Sequence[Prepared], cpu: str) -> Arrays:
    with tempfile.TemporaryDirectory() as folder:
        studies, out = Path(folder) / "studies.npz", Path(folder) / "answers.npz"
        arrays: Arrays = {"subsets": np.asarray([subset_name(item.subset) for item in prepared])}
        for place, item in enumerate(prepared):
            arrays |= {f"{place}.{part}": getattr(item, part) for part in _PARTS if getattr(item, part) is not None}
        np.savez(studies, allow_pickle=False, **arrays)
        command = ["qemu-x86_64", "-cpu", cpu, sys.executable, __file__, "answers", bundle.path, studies, out]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"the bundle gave no answers under qemu ({done.returncode}): {done.stderr.strip()[-500:]}")
        with np.load(out) as found:
            return dict(found)


def _read(path: Path) -> list[Prepared]:
    with np.load(path) as arrays:
        return [
            Prepared(subset=subset_of(str(name)), **{part: arrays[f"{i}.{part}"] for part in _PARTS if f"{i}.{part}" in arrays})
            for i, name in enumerate(arrays["subsets"])
        ]


def _mean_cosine(ours_ND: npt.NDArray[Any], theirs_ND: npt.NDArray[Any]) -> float:
    return float((ours_ND.astype(np.float64) * theirs_ND).sum(axis=1).mean())


if __name__ == "__main__":
    app()
