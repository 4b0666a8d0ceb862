"""An environment of its own for each requirements.txt of a peer: made when it is missing or its requirements have changed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def python_of(requirements: Path, root: Path, *, over: bool = False) -> Path:
    """The interpreter of an environment that holds what a file lists.

    Args:
        requirements: pins, `NAME/requirements.txt`; without that file the interpreter is this one.
        root: folder of the environments; this one's is called NAME.
        over: it sees this environment's packages too, and holds only what they lack.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its own words stand on stderr.
    """
    if not requirements.exists():
        return Path(sys.executable)
    folder = root / requirements.parent.name
    python, mark = folder / "bin" / "python", folder / "requirements.sha256"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        print(f"installing {requirements} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        if over:
            subprocess.run([sys.executable, str(ROOT / "scripts" / "over_venv.py"), sys.prefix, str(folder)], check=True)
        pip = (str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
        subprocess.run([*pip, "-r", str(requirements)], check=True, stdout=sys.stderr)
        mark.write_text(wanted, encoding="utf-8")
    return python
