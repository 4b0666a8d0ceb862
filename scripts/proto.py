"""Format, lint and compile proto/ into runtime/foveal_runtime/_proto, without the network.

    python scripts/proto.py            format the .proto files and write the stubs
    python scripts/proto.py --check    fail when a .proto is unformatted or breaks a rule or a release, or a stub is stale
    python scripts/proto.py --release  keep an image of today's contract, which later ones may not break

buf would fetch google/rpc/*.proto from its registry; here they come from the installed googleapis-common-protos, in a
workspace that exists only while buf runs, so that no copy of them is committed.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
STUBS = ROOT / "runtime" / "foveal_runtime" / "_proto"
RELEASED = PROTO / "released.binpb"
SHARED = ("google/rpc/status.proto",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--release", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder))
        if not args.check:
            run([buf(), "format", "-w", str(PROTO)])
        run([buf(), "format", "--exit-code", "-d", str(PROTO)])
        run([buf(), "lint", "proto"], workspace)
        if RELEASED.exists() and not args.release:
            run([buf(), "breaking", "proto", "--against", str(RELEASED)], workspace)
        if args.release:
            run([buf(), "build", "proto", "-o", str(RELEASED)], workspace)
        fresh = Path(folder) / "stubs"
        compile_stubs(fresh)
        if args.check:
            stale = sorted(p.name for p in fresh.iterdir() if not same(p, STUBS / p.name))
            stale += sorted(p.name for p in STUBS.glob("*.py*") if not (fresh / p.name).exists())
            if stale:
                print(f"stubs are stale: {', '.join(stale)}; run `make proto`", file=sys.stderr)
                return 1
        else:
            STUBS.mkdir(exist_ok=True)
            for old in STUBS.glob("*.py*"):
                old.unlink()
            for new in fresh.iterdir():
                shutil.copy(new, STUBS / new.name)
    return 0


def buf() -> str:
    """The buf of this environment (`pip install buf-bin`)."""
    beside = Path(sys.executable).parent / "buf"
    found = str(beside) if beside.exists() else shutil.which("buf")
    if found is None:
        raise SystemExit("buf is not installed; pip install foveal[dev]")
    return found


def shared_protos() -> Path:
    """Where googleapis-common-protos keeps google/rpc/*.proto."""
    from google.rpc import status_pb2

    return Path(status_pb2.__file__).parent.parent.parent


def make_workspace(folder: Path) -> Path:
    """A buf workspace of two modules: ours, and the shared files it imports."""
    shared = shared_protos()
    for name in SHARED:
        target = folder / "googleapis" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shared / name, target)
    shutil.copytree(PROTO, folder / "proto", ignore=shutil.ignore_patterns("buf.yaml"))
    rules = (PROTO / "buf.yaml").read_text().replace("version: v2\n", "")
    modules = "version: v2\nmodules:\n  - path: proto\n  - path: googleapis\n    lint:\n      ignore: [googleapis]\n"
    (folder / "buf.yaml").write_text(modules + rules)
    return folder


def compile_stubs(out: Path) -> None:
    """protoc, with imports between our own files made relative."""
    from grpc_tools import protoc

    out.mkdir()
    sources = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    builtin = str(files("grpc_tools") / "_proto")
    with tempfile.TemporaryDirectory() as scratch:
        code = protoc.main(
            ["protoc", f"-I{PROTO}", f"-I{shared_protos()}", f"-I{builtin}"]
            + [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
            + sources
        )
        if code != 0:
            raise SystemExit(code)
        for path in sorted(Path(scratch).rglob("*.py*")):
            text = path.read_text()
            text = re.sub(r"^from foveal\.v1 import (\w+) as ", r"from . import \1 as ", text, flags=re.M)
            text = re.sub(r"^import foveal\.v1\.(\w+) as ", r"from . import \1 as ", text, flags=re.M)
            if path.name.endswith("_grpc.py") and not re.search(r"class \w+Stub", text):
                continue  # a file without services
            (out / path.name).write_text(text)
    (out / "__init__.py").write_text('"""Stubs of proto/foveal/v1, written by scripts/proto.py. Not edited by hand."""\n')


def same(a: Path, b: Path) -> bool:
    return b.exists() and filecmp.cmp(a, b, shallow=False)


def run(command: list[str], cwd: Path = ROOT) -> None:
    result = subprocess.run(command, cwd=cwd, check=False)
    if result.returncode != 0:
        raise SystemExit(result.returncode)


if __name__ == "__main__":
    raise SystemExit(main())
