"""Let one virtual environment find what another has, its own packages first.

    python scripts/over_venv.py BASE OVER

OVER then holds only what differs from BASE, editable installs included.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path


def main() -> int:
    """Write the .pth file."""
    base, over = (_packages(Path(argument).resolve()) for argument in sys.argv[1:3])
    # addsitedir, and not the folder's name: .pth files in it, those of editable installs, count too.
    (over / "over_venv.pth").write_text(f"import site; site.addsitedir({str(base)!r})\n")
    return 0


def _packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(environment)}))


if __name__ == "__main__":
    raise SystemExit(main())
