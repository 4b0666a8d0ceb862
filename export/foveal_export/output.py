"""What an export tells: a document for programs, lines and a table for people. Exports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

FASTER = 1.5
"""How many times as fast as FP32 an INT8 bundle has to be that is exported without a warning."""

if TYPE_CHECKING:
    from foveal_export.result import Exported
    from foveal_runtime.bundle.manifest import Manifest


def document(exported: Exported) -> dict[str, Any]:
    """What `foveal export --json` prints."""
    return {
        "bundle": str(exported.bundle),
        "report": str(exported.html),
        "precision": exported.manifest.precision.value,
        "space_id": exported.manifest.space_id,
        "bytes": exported.bytes,
        "seconds": round(exported.seconds, 1),
        "parity": exported.report["summary"],
        "cpu": exported.manifest.runs_on.value,
        "saturation": exported.report["saturation"],
        "ms_per_study": exported.report["ms_per_study"],
        "graphs": exported.report["graphs"],
        "frontier": exported.report["frontier"],
        "tensorrt": exported.report["tensorrt"],
        "variants": exported.report["variants"],
    }


def table(document: dict[str, Any]) -> Any:
    """Distances from PyTorch by subset and vector, from parity.json."""
    from rich.table import Table

    made = Table(title=f"parity with PyTorch on {document['source']}")
    for column in ("subset", "vector", "studies", "mean cosine", "min cosine", "overlap", "ICDR changed"):
        made.add_column(column, justify="left" if column in ("subset", "vector") else "right")
    for name, part in document["subsets"].items():
        flips = part["heads"].get("icdr", {}).get("flips")
        for kind, vector in part["vectors"].items():
            overlap = vector["cross_overlap"]
            made.add_row(
                name,
                kind,
                str(part["studies"]),
                f"{vector['mean_cosine']:.5f}",
                f"{vector['min_cosine']:.5f}",
                "" if overlap is None else f"{overlap:.3f}",
                "" if flips is None or kind != "joint" else str(flips),
            )
    return made


def unproven(evidence: dict[str, Any]) -> list[str]:
    """What to say of heads whose grades no held-out study has shown to be better than chance, a line a reason."""
    reasons = {
        "chance": "not told from chance by held-out studies, so held to vectors and probabilities, not to grades",
        "unverified": "too few held-out studies to judge grades by (50 are needed, 20 on each side of grade 2)",
    }
    flags = {"chance": "--allow-untrained", "unverified": "--allow-unverified"}
    lines = []
    for status, reason in reasons.items():
        named = [
            f"{head} from {name}" for name, heads in evidence.items() for head, e in heads.items() if e["status"] == status
        ]
        if named:
            lines.append(f"{', '.join(named)}: {reason}; `foveal serve` gives such grades with {flags[status]} alone")
    return lines


def built(document: dict[str, Any]) -> str:
    """What TensorRT made of a bundle's graphs, in a line, from parity.json's part of it."""
    from foveal_export.tensorrt.engines import sizes

    made = sizes(document)
    engines = [engine for graph in document["graphs"].values() for engine in graph["engines"].values()]
    plain = sizes(document, "fp16_bytes") if "fp16_bytes" in engines[0] else {}
    listed = [
        f"{name} {size / 1e6:.1f} MB" + (f" (FP16 {plain[name] / 1e6:.1f} MB)" if name in plain else "")
        for name, size in made.items()
    ]
    seconds = sum(engine["seconds"] for engine in engines)
    return f"TensorRT {document['parser']} parsed every graph and built engines in {seconds:.0f} s: {', '.join(listed)}"


def slow(document: dict[str, Any]) -> list[str]:
    """A warning where INT8 is hardly faster than FP32 on the machine that exports; none for other precisions and targets."""
    rows = {row["name"]: row for row in document["precisions"]}
    if document["target"] != "onnx" or "int8" not in rows:
        return []
    exact, int8 = rows["fp32"], rows["int8"]
    ratio = exact["ms"] / int8["ms"]
    if ratio >= FASTER:
        return []
    each = [f"{graph} {exact['graphs_ms'][graph] / ms:.2f}x" for graph, ms in int8["graphs_ms"].items()]
    return [
        f"INT8 is {ratio:.2f}x as fast as FP32 on this processor ({', '.join(each)}), less than {FASTER:g}x; "
        "with --variants fp32 `foveal compile` takes the faster of each graph"
    ]


def varied(manifest: Manifest) -> str:
    """What the variants of a bundle's graphs take, in a line."""
    named = [f"{graph} {', '.join(there)}" for graph, there in manifest.variants.items()]
    more = sum(each.bytes for each in manifest.every_variant().values())
    return (
        f"variants of {'; '.join(named)} take {more / 1e6:.1f} MB more than the bundle's own graphs, "
        f"{sum(graph.bytes for graph in manifest.graphs.values()) / 1e6:.1f} MB; `foveal compile` chooses on each machine"
    )


def show(exported: Exported, why: str) -> None:
    """Tell a person, on stderr.

    Args:
        exported: what came out.
        why: it is not INT8, with `--precision auto`; empty where it is, or was not the question.
    """
    from rich.console import Console

    console = Console(stderr=True)
    console.print(table(exported.report))
    for line in unproven(exported.report["evidence"]):
        console.print(line)
    from foveal_export.quantise.saturation import warnings

    for line in warnings(exported.report["saturation"]):
        console.print(f"[yellow]warning[/yellow]: {line}")
    for line in slow(exported.report):
        console.print(f"[yellow]warning[/yellow]: {line}")
    if exported.report["given_back"]:
        cost = [
            f"{each['block']} ({each['ms']:+.2f} ms, {each['bytes'] / 1e3:+.0f} kB)" for each in exported.report["given_back"]
        ]
        console.print(f"kept in floating point to hold the budget: {', '.join(cost)}")
    if exported.report["tensorrt"]:
        console.print(built(exported.report["tensorrt"]))
    if exported.manifest.variants:
        console.print(varied(exported.manifest))
    if why:
        console.print(f"FP16, not INT8: {why}")
    console.print(
        f"bundle of {exported.bytes / 1e6:.1f} MB written to [bold]{exported.bundle}[/bold] in {exported.seconds:.0f} s; "
        f"report: {exported.html}; next: foveal serve {exported.bundle}"
    )
