"""Refuse modules and functions that have grown too long: 330 lines a module, 60 a function.

    python scripts/sizes.py

A function's docstring is not counted: a command's is its help page. Exceptions stand in docs/decisions.md, "Lengths", each with
its reason and the length that it may not grow beyond: a table row whose first cell is the module, or the module and
`:function`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("runtime/foveal_runtime", "train/foveal_train", "export/foveal_export", "scripts")
MADE = ("_proto/", "client/blocking.py")
"""Written by programs."""
MODULE, FUNCTION = 330, 60
EXCEPTION = re.compile(r"^\| `([\w/.]+\.py(?::\w+)?)` \| (\d+) \| \S", re.MULTILINE)


def main() -> int:
    """List what is too long and not excepted, and exceptions that nothing needs any more."""
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    excepted = {name: int(length) for name, length in EXCEPTION.findall(text)}
    found = {name: length for room in ROOMS for name, length in too_long(ROOT / room)}
    wrong = [f"{name} has {length} lines; split it" for name, length in found.items() if name not in excepted]
    wrong += [
        f"{name} has {found[name]} lines, docs/decisions.md excepts it up to {most}; split it"
        for name, most in excepted.items()
        if found.get(name, 0) > most
    ]
    wrong += [
        f"docs/decisions.md excepts {name}, which is short enough; delete the row" for name in excepted.keys() - found.keys()
    ]
    print("\n".join(sorted(wrong)), end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


def too_long(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and length of every module and function below `folder` that is over its limit."""
    for path in sorted(folder.rglob("*.py")):
        name, source = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        if any(made in name for made in MADE):
            continue
        if (lines := source.count("\n")) > MODULE:
            yield name, lines
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (lines := body_lines(node)) > FUNCTION:
                yield f"{name}:{node.name}", lines


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
