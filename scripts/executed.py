"""Write the table of what was executed into docs/operations.md, from the results of `foveal gpu-check` in the repository.

python scripts/executed.py           write it
python scripts/executed.py --check   fail when it is stale
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gpu"
PAGE = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- executed: begin -->\n", "<!-- executed: end -->\n"
PROVIDERS = {
    "cpu": "ONNX Runtime's CPU provider",
    "openvino": "OpenVINO, `foveal[openvino]`",
    "cuda": "CUDA, `foveal[gpu]`",
    "tensorrt": "TensorRT, `foveal[gpu]`",
    "tensorrt-rtx": "TensorRT for RTX, `foveal[rtx]`",
}
_ON_PROCESSOR = ("cpu", "openvino")
SCHEMA_VERSION = 1


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    old = PAGE.read_text(encoding="utf-8")
    new = replaced(old, table(read(RESULTS)))
    if old == new:
        return 0
    if given.check:
        print(f"the table in {PAGE.relative_to(ROOT)} is stale; run `python scripts/executed.py`", file=sys.stderr)
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


def read(folder: Path) -> list[dict[str, Any]]:
    """The results, oldest first.

    Raises:
        SystemExit: one is of another format.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("schema_version") != SCHEMA_VERSION:
            sys.exit(f"{path} is no result of this foveal's gpu-check; measure again")
        found.append(document)
    return sorted(found, key=lambda document: str(document["date"]))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row a provider, and one for training on a GPU."""
    rows = ["| provider | executed |", "| --- | --- |"]
    for name, words in PROVIDERS.items():
        rows.append(f"| `{name}`: {words} | {_joined(_of_provider(results, name))} |")
    trained = [
        f"{_cards(document)}, {document['date']}: {document['training']['what']}, {document['training']['result']}"
        for document in results
        if document["training"] and document["training"]["passed"] and document["machine"]["torch"]["sees_gpu"]
    ]
    rows.append(f"| training on a GPU | {_joined(trained)} |")
    return "\n".join(rows) + "\n"


def replaced(text: str, made: str) -> str:
    """The page with another table between its marks.

    Raises:
        SystemExit: it has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{PAGE} has no {BEGIN.strip()} and {END.strip()}; put them where the table belongs")
    return before + BEGIN + made + END + after


def _of_provider(results: Sequence[dict[str, Any]], name: str) -> Iterator[str]:
    for document in results:
        rows = [row for row in document["rows"] if row["provider"] == name]
        if not rows:
            continue
        passed = [row["bundle"] for row in rows if row["status"] == "passed"]
        failed = [row["bundle"] for row in rows if row["status"] != "passed"]
        where = document["machine"]["processor"]["class"] if name in _ON_PROCESSOR else _cards(document)
        text = f"{where}, {document['date']}: {len(passed)} of {len(rows)} bundles compiled and within tolerance"
        yield text + (f"; not {', '.join(failed)}" if failed else f" ({', '.join(passed)})")


def _cards(document: dict[str, Any]) -> str:
    return ", ".join(document["machine"]["gpus"]) or "a GPU that was not named"


def _joined(found: Iterator[str] | list[str]) -> str:
    return "<br>".join(text.replace("|", "\\|") for text in found) or "**never executed**: no result in the repository"


if __name__ == "__main__":
    raise SystemExit(main())
