"""Figures of docs/*.md that come from result files: write them, or check that they are what the files say.

    python scripts/figures.py            write every bound figure anew
    python scripts/figures.py --check    fail where a figure is not its file's, or a result file that a page names is not there

A figure is bound by a comment behind it, which no reader sees: `0.977<!--=several_servers.json; share/median; .3f-->` is
`found["share"]["median"]` of benchmarks/results/several_servers.json in Python's format `.3f`; a number as a part of the path
is a place in a list. In a section whose heading is followed by `<!--every figure is bound-->`, each number of a table's second
column has to be.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURE = re.compile(
    r"(?P<text>[-+]?\d[\d,.]*(?:e[-+]\d+)?(?: ?%)?)(?P<close>\**)<!--=(?P<file>[^;]+); (?P<path>[^;]+); (?P<format>[^;]+?)-->"
)
NAMED = re.compile(r"benchmarks/results/([\w./-]+\.json)")
EVERY = "<!--every figure is bound-->"
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,.]*")


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a figure is wrong")
    check = parser.parse_args().check
    wrong: list[str] = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        fresh, found = bound(text, RESULTS)
        wrong += [f"{page.relative_to(ROOT)}: {each}" for each in (*found, *unbound(fresh), *absent(fresh, RESULTS))]
        if fresh != text and check:
            wrong.append(f"{page.relative_to(ROOT)} has figures that are not their files'; run `python scripts/figures.py`")
        elif fresh != text:
            page.write_text(fresh, encoding="utf-8")
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


def bound(text: str, results: Path) -> tuple[str, list[str]]:
    """The text with every bound figure as its file has it, and what can't be found."""
    wrong: list[str] = []

    def fresh(match: re.Match[str]) -> str:
        try:
            value = at(document(results / match["file"].strip()), match["path"].strip())
            return f"{format(value, match['format'].strip())}{match['close']}{match[0][match.end('close') - match.start() :]}"
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            wrong.append(f"{match['file']}; {match['path']} can't be shown ({type(error).__name__})")
            return match[0]

    return FIGURE.sub(fresh, text), wrong


@cache
def document(path: Path) -> Any:
    """A result file."""
    return json.loads(path.read_text(encoding="utf-8"))


def at(found: Any, path: str) -> Any:
    """What stands at a path of keys and places."""
    for part in path.split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def unbound(text: str) -> list[str]:
    """Numbers of tables' second columns that no file vouches for, in the sections that promise it."""
    wrong = []
    for section in re.split(r"(?m)^(?=##)", text):
        if EVERY not in section:
            continue
        for line in section.splitlines():
            cells = line.split("|")
            if len(cells) > 3 and not set(line) <= set("|- "):
                left = re.sub(FIGURE, "", cells[2])
                wrong += [f"{number} in {cells[1].strip()!r} is bound to no file" for number in NUMBER.findall(left)]
    return wrong


def absent(text: str, results: Path) -> list[str]:
    """Result files that a page names and that are not there."""
    return [f"benchmarks/results/{name} is not there" for name in NAMED.findall(text) if not (results / name).is_file()]


if __name__ == "__main__":
    raise SystemExit(main())
