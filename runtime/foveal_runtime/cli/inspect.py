"""`foveal inspect`: what a bundle is, on one screen. Reads its manifest and checks its hashes; runs no graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import fitted, width

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle

_ACCURACY = {
    "mean_cosine": "mean cosine",
    "min_cosine": "least cosine",
    "max_abs": "largest difference",
    "icdr_flips": "ICDR grades changed",
    "neighbour_overlap": "neighbour overlap",
    "neighbour_dependence": "alone against in a batch",
}
"""Of the manifest's summary of parity, what is shown, in words."""

_LAYERS = 5
"""Kinds of TensorRT's layers that the screen shows of a graph; --json has all."""
_RUNS_ON = {
    "any": "right on any x86-64-v3 processor",
    "vnni": "right on processors with VNNI alone: 16-bit sums of others saturate",
}
"""By the manifest's `runs_on`, in words."""


def inspect(bundle: Path, /, *, public_key: Path | None = None, json: Json = False) -> None:
    """Show what a bundle is: model, precision, graphs, sizes, what it answers, distance from PyTorch, space, signature.

    Every hash is checked on the way; no graph is loaded.

    For example:

        foveal inspect runs/edge/bundle-int8
        foveal inspect runs/edge/bundle-int8 --json

    Args:
        bundle: folder that `foveal export` wrote.
        public_key: PEM public key (Ed25519) that must have signed it.
        json: print one JSON document.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.signing import read_public_key

    opened = Bundle.open(bundle, signed_by=None if public_key is None else read_public_key(public_key))
    document = describe(opened, signed_by=str(public_key) if public_key is not None else "")
    if json:
        print_json(document)
    else:
        sys.stdout.write(fitted(screen(document), width()))


def describe(bundle: Bundle, *, signed_by: str = "") -> dict[str, Any]:
    """A bundle as one JSON document.

    Args:
        bundle: an opened bundle.
        signed_by: the key its signature was checked with; empty when none was.
    """
    from foveal_runtime.bundle.engines import read_built
    from foveal_runtime.bundle.honesty import warnings_of

    manifest, built = bundle.manifest, read_built(bundle)
    whole = manifest.model_dump(mode="json")
    files = [path for path in bundle.path.rglob("*") if path.is_file()]
    kept = ("foveal_version", "profile", "precision", "target", "space_id", "embedding_dim")
    rest = (
        "trained_heads",
        "trained_subsets",
        "aligned",
        "calibration",
        "evidence",
        "trained_on",
        "adapted",
        "novelty",
        "occlusion",
        "tolerances",
        "parity",
        "image",
        "text",
        "made_with",
    )
    return {
        "bundle": str(bundle.path),
        "sha256": bundle.sha256,
        **{name: whole[name] for name in kept},
        "runs_on": manifest.runs_on.value,
        "bytes": sum(path.stat().st_size for path in files),
        "signature": {"signed": bundle.is_signed, "checked_with": signed_by},
        "graphs": whole["graphs"],
        "variants": whole["variants"],
        "served": _served(bundle),
        **{name: whole[name] for name in rest},
        "engines": whole["engines"],
        "tensorrt": None if built is None else built.model_dump(mode="json", exclude_none=True),
        "warnings": warnings_of(manifest),
    }


def screen(document: dict[str, Any]) -> str:
    """The document as text of at most some forty lines."""
    signature = document["signature"]
    signed = (
        f"signed by {signature['checked_with']}"
        if signature["checked_with"]
        else "signed, by whom was not checked (--public-key)"
        if signature["signed"]
        else "not signed"
    )
    heads, aligned = (", ".join(document[name]) or "none" for name in ("trained_heads", "aligned"))
    lines = [
        f"{document['profile']} {document['precision']} for {document['target']}, {document['bytes'] / 1e6:.1f} MB, "
        f"foveal {document['foveal_version']}, {signed}",
        f"bundle      {document['sha256']}",
        f"space       {document['space_id']}",
        f"answers     {', '.join(document['trained_subsets'])}",
        f"heads       {heads}; {document['embedding_dim']}-d vectors, comparable across modalities: {aligned}",
        f"photograph  {document['image']['side_px']} px; note {document['text']['max_tokens']} tokens at most, "
        f"{document['text']['kept_tokens']} kept",
        "",
        f"{'graph':<12}{'MB':>8}  {'runs':<15}arithmetic",
    ]
    for name, graph in document["graphs"].items():
        alone = "one at a time" if graph["one_at_a_time"] else "in batches"
        lines.append(f"{name:<12}{graph['bytes'] / 1e6:>8.2f}  {alone:<15}{graph['scheme'] or 'not recorded'}")
    lines += _variants(document)
    lines += _engines(document)
    parity = document["parity"]
    lines += ["", f"against PyTorch FP32: {parity.get('studies', 0)} answers, {parity.get('source', 'not compared')}"]
    found = [f"{words} {_figure(parity[key])}" for key, words in _ACCURACY.items() if parity.get(key) is not None]
    lines += [f"  {'; '.join(found[i : i + 3])}" for i in range(0, len(found), 3)]
    judged = document["made_with"].get("processor")
    lines.append(f"  {_RUNS_ON[document['runs_on']]}; judged on {judged or 'a processor that was not recorded'}")
    limits = document["tolerances"]
    lines.append(
        f"  verify accepts cosine >= {limits['min_cosine']:g} (golden studies {limits['golden_cosine']:.4g}), "
        f"probabilities within {limits['max_abs_probability']:g}, ICDR changed <= {limits['icdr_flips']:g}, "
        f"referable <= {limits['referable_flips']:g}"
    )
    lines += ["", "grades better than chance, shown by held-out studies"]
    for name in document["trained_subsets"]:
        heads = document["evidence"].get(name, {})
        found = [f"{head} {_evidence(heads.get(head))}" for head in document["trained_heads"]]
        lines.append(f"  {name:<24}{'; '.join(found) or 'no head'}")
    lines += ["", "referable DR at"]
    for name, entry in document["calibration"].items():
        points = [_point(point) for point in entry["operating_points"]]
        lines.append(f"  {name:<24}{'; '.join(points) or 'no operating point'}{_sets(entry['grade_set'])}")
    lines += _photographs(document)
    if document["adapted"] is not None:
        adapted = document["adapted"]
        lines.append(f"adapted to {adapted['site']}, from bundle {adapted['bundle_sha256'][:12]}")
    lines.append(f"trained on {_data(document['trained_on'])}")
    lines += [f"warning: {warning}" for warning in document["warnings"]]
    made = ", ".join(f"{name} {version}" for name, version in document["made_with"].items())
    lines.append(f"made with {made or 'nothing recorded'}")
    return "\n".join(lines) + "\n"


def _served(bundle: Bundle) -> dict[str, str]:
    """Name of the variant that the CPU provider serves here, by graph; empty where there is one file a graph."""
    from foveal_runtime.engine.compiled import find_compiled
    from foveal_runtime.engine.providers import Provider
    from foveal_runtime.engine.variants import served
    from foveal_runtime.errors import FovealError

    if not bundle.manifest.variants:
        return {}
    try:
        compiled = find_compiled(bundle, Provider.CPU.value)
    except FovealError:
        compiled = None  # serving compiles it again, or serves what is safe
    return dict(served(bundle, Provider.CPU, compiled).served)


def _variants(document: dict[str, Any]) -> list[str]:
    """The other files of each graph, a line each, and which ones are served here."""
    if not document["variants"]:
        return []
    lines = ["", "variants"]
    for name, there in document["variants"].items():
        for each, graph in there.items():
            cosine = graph["parity"].get("min_cosine")
            held = "" if cosine is None else f"; least cosine {cosine:.5f}"
            lines.append(f"  {f'{name} {each}':<24}{graph['bytes'] / 1e6:>8.2f} MB  {graph['scheme']}{held}")
    return [*lines, f"  cpu serves here: {', '.join(f'{name} {each}' for name, each in document['served'].items())}"]


def _engines(document: dict[str, Any]) -> list[str]:
    """Engines, layers and element types of a bundle for TensorRT, two lines a graph."""
    if document["target"] != "tensorrt":
        return []
    found = document["tensorrt"]
    if found is None:
        return ["", "TensorRT was not asked at export: nodes were checked against its published list alone"]
    kept = f"; {len(document['engines'])} engines were kept beside the bundle" if document["engines"] else ""
    lines = ["", f"TensorRT {found['parser']} parsed every graph; engines of"]
    for name, graph in found["graphs"].items():
        sizes = ", ".join(f"{a} {e['bytes'] / 1e6:.2f} MB in {e['seconds']:.1f} s" for a, e in graph["engines"].items())
        lines.append(f"  {name:<12}{sizes}")
        layers = sorted(graph["layers"].items(), key=lambda item: -item[1])
        lines.append(f"  {'':<12}{_counted(dict(layers[:_LAYERS]))}; tensors: {_counted(graph['tensors'])}")
    lines[-1] += kept
    return lines


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.lower().replace('_', ' ')}" for name, count in counts.items())


def _data(entry: dict[str, Any] | None) -> str:
    """What a model was trained on, in a few words."""
    if entry is None:
        return "what was not recorded (an older foveal)"
    patients = f" of {entry['patients']} patients" if entry["patients"] else ""
    cameras = f"; cameras: {', '.join(entry['cameras'])}" if entry["cameras"] else ""
    return f"{entry['studies']} studies{patients} ({', '.join(entry['datasets'])}){cameras}"


def _photographs(document: dict[str, Any]) -> list[str]:
    """What the bundle knows of photographs besides their grades."""
    lines = []
    if document["novelty"] is not None:
        lines.append(f"knows photographs unlike its training's; their limit was fitted on {document['novelty']['studies']}")
    if document["occlusion"] is not None:
        found = document["occlusion"]
        lines.append(
            f"evidence maps: the tenth that they mark costs {found['drop']:.2f} (>= {found['drop_low']:.2f}) more of the "
            f"referral probability than a random tenth, on {found['studies']} photographs"
        )
    return lines


def _evidence(entry: dict[str, Any] | None) -> str:
    """What is known of a head, in a few words."""
    if entry is None or entry["status"] == "unverified":
        return f"unverified ({entry['studies'] if entry else 0} studies)"
    known = [f"{entry['studies']} studies"]
    known += [
        f"{name} {entry[key]:.2f} {_interval(entry, key)}"
        for name, key in (("kappa", "kappa"), ("AUROC", "auroc"))
        if entry[key] is not None
    ]
    return f"{'yes' if entry['status'] == 'proven' else 'no'} ({', '.join(known)})"


def _interval(entry: dict[str, Any], key: str) -> str:
    low, high = entry[f"{key}_low"], entry.get(f"{key}_high")
    return f"from {low:.2f}" if high is None else f"[{low:.2f}, {high:.2f}]"


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}" if abs(value) < 0.1 else f"{value:.5f}"


def _sets(rule: dict[str, Any] | None) -> str:
    return "" if rule is None else f"; grade sets cover {rule['coverage']:.0%} ({rule['studies']} studies)"


def _point(point: dict[str, Any]) -> str:
    if not point["studies"]:
        return f"{point['name']} {point['threshold']:.3f} (not fitted)"
    reached = [f"{key} {point[key]:.3f}" for key in ("sensitivity", "specificity") if point[key] is not None]
    return f"{point['name']} {point['threshold']:.3f} ({', '.join((*reached, str(point['studies']) + ' studies'))})"
