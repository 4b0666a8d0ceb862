"""Write the README's sample answer: serve models/edge, grade the example photographs, and keep what really prints.

python scripts/readme_sample.py
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from foveal_runtime.bundle.shipped import MODEL, PHOTOGRAPHS
from foveal_runtime.cli.local_server import FOVEAL, LocalServer

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SAMPLE = re.compile(r"(<!-- sample: .*? -->\n).*?(<!-- /sample -->)", re.DOTALL)
SHOWN = ("grade-0.jpg", "grade-2-right.jpg", "grade-4-left.jpg", "blurred.jpg")


def main() -> int:
    """Replace the block between the README's markers."""
    files = [str(PHOTOGRAPHS / name) for name in SHOWN]
    with LocalServer(ROOT / MODEL) as server:
        command = [*FOVEAL, "grade", *files, "--address", server.address]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [f"$ foveal serve {MODEL} &", f"$ foveal grade {' '.join(files)}", *printed.strip().splitlines()]
    text = README.read_text(encoding="utf-8")
    block = "```text\n" + "\n".join(lines) + "\n```\n"
    replaced, count = SAMPLE.subn(lambda found: found[1] + block + found[2], text)
    if count != 1:
        raise SystemExit(f"{README} has {count} samples between its markers, want one")
    README.write_text(replaced, encoding="utf-8")
    print(f"{README}: {len(lines)} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
