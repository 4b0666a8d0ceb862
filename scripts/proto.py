"""Format, lint and compile proto/ into runtime/foveal_runtime/_proto, without the network.

    python scripts/proto.py            format the .proto files and write the stubs
    python scripts/proto.py --check    fail when a .proto is unformatted or breaks a rule or a release, or a file is stale
    python scripts/proto.py --release  keep an image of today's contract, which later ones may not break

proto/ compiles by itself: google/rpc/*.proto lie in it, copies of the installed googleapis-common-protos's. The Python stubs
import that package's modules all the same, since a descriptor that is registered twice fails as soon as the two differ.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
STUBS = ROOT / "runtime" / "foveal_runtime" / "_proto"
RELEASED = PROTO / "released.binpb"
OURS = PROTO / "foveal"
OTHERS = PROTO / "inference"
"""A protocol of others that is served as well."""
GOOGLES = ("google/rpc/code.proto", "google/rpc/error_details.proto", "google/rpc/status.proto")
SHARED_PACKAGE = "googleapis-common-protos"
SHARED_README = PROTO / "google" / "README.md"
COMMENTS = "comments.json"
GENCODE = re.compile(r"ValidateProtobufRuntimeVersion\(\s*_runtime_version\.Domain\.PUBLIC,\s*(\d+),\s*(\d+),\s*(\d+),")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--release", action="store_true")
    args = parser.parse_args()
    if not args.check:
        run([buf(), "format", "-w", str(PROTO), "--path", str(OURS), "--path", str(OTHERS)])
        copy_shared()
    run([buf(), "format", "--exit-code", "-d", str(PROTO), "--path", str(OURS), "--path", str(OTHERS)])
    run([buf(), "lint", str(PROTO)])
    if RELEASED.exists() and not args.release:
        run([buf(), "breaking", str(PROTO), "--against", str(RELEASED)])
    if args.release:
        run([buf(), "build", str(PROTO), "-o", str(RELEASED)])
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "stubs"
        compile_stubs(fresh)
        refuse_too_new(fresh)
        if args.check:
            return report(stale_shared() + stale_stubs(fresh))
        STUBS.mkdir(exist_ok=True)
        for old in written():
            old.unlink()
        for new in fresh.iterdir():
            shutil.copy(new, STUBS / new.name)
    return 0


def report(stale: list[str]) -> int:
    """One line a thing that is stale, and what makes it anew."""
    if stale:
        print(f"stale: {', '.join(stale)}; run `make proto`", file=sys.stderr)
    return 1 if stale else 0


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


def copy_shared() -> None:
    """google/rpc/*.proto of the installed package into proto/, and its version into the note beside them."""
    for name in GOOGLES:
        shutil.copyfile(shared_protos() / name, PROTO / name)
    note = SHARED_README.read_text()
    SHARED_README.write_text(re.sub(rf"{SHARED_PACKAGE} \d[\d.]*\d", f"{SHARED_PACKAGE} {version(SHARED_PACKAGE)}", note))


def stale_shared() -> list[str]:
    """Copies that are not the installed package's, and a note that names another version."""
    stale = [name for name in GOOGLES if not same(shared_protos() / name, PROTO / name)]
    noted = f"{SHARED_PACKAGE} {version(SHARED_PACKAGE)} " in SHARED_README.read_text()
    return stale if noted else [*stale, str(SHARED_README.relative_to(PROTO))]


def stale_stubs(fresh: Path) -> list[str]:
    """Stubs that protoc would write otherwise, or not at all."""
    stale = sorted(p.name for p in fresh.iterdir() if not same(p, STUBS / p.name))
    return stale + sorted(p.name for p in written() if not (fresh / p.name).exists())


def written() -> list[Path]:
    """What lies beside the stubs and is ours."""
    return [*STUBS.glob("*.py*"), *STUBS.glob("*.json")]


def compile_stubs(out: Path) -> None:
    """protoc, with imports between our own files made relative."""
    from grpc_tools import protoc

    out.mkdir()
    sources = sorted(str(p.relative_to(PROTO)) for folder in (OURS, OTHERS) for p in folder.rglob("*.proto"))
    builtin = str(files("grpc_tools") / "_proto")
    with tempfile.TemporaryDirectory() as scratch:
        code = protoc.main(
            ["protoc", f"-I{PROTO}", f"-I{builtin}"]
            + [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
            + sources
        )
        if code != 0:
            raise SystemExit(code)
        for path in sorted(Path(scratch).rglob("*.py*")):
            text = path.read_text()
            text = re.sub(r"^from (?:foveal\.v1|inference) import (\w+) as ", r"from . import \1 as ", text, flags=re.M)
            text = re.sub(r"^import foveal\.v1\.(\w+) as ", r"from . import \1 as ", text, flags=re.M)
            # This protoc forgets that None leaves a bool unset, as it does every other scalar; its successors don't.
            text = (
                re.sub(r"(?<=[(\s])(\w+): bool = \.\.\.", r"\1: _Optional[bool] = ...", text) if path.suffix == ".pyi" else text
            )
            if path.name.endswith("_grpc.py") and not re.search(r"class \w+Stub", text):
                continue  # a file without services
            (out / path.name).write_text(text)
    (out / COMMENTS).write_text(json.dumps(comments_of(sources), ensure_ascii=False, indent=0, sort_keys=True) + "\n")
    (out / "__init__.py").write_text(
        '"""Stubs of proto/foveal/v1 and proto/inference, written by scripts/proto.py. Not edited by hand."""\n'
    )


def comments_of(sources: list[str]) -> dict[str, str]:
    """What the .proto files say of services, calls, messages, fields and enums, by full name, for the OpenAPI document."""
    from google.protobuf import descriptor_pb2  # type: ignore[import-untyped]
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image"
        includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
        if code := protoc.main(["protoc", *includes, "--include_source_info", f"--descriptor_set_out={image}", *sources]):
            raise SystemExit(code)
        described = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    found: dict[str, str] = {}
    for file in described.file:
        for location in file.source_code_info.location:
            if location.leading_comments.strip():
                found[named(file, list(location.path))] = " ".join(location.leading_comments.split())
    return {name: text for name, text in found.items() if name}


def named(file: Any, path: list[int]) -> str:
    """The full name of what a path in a file's descriptor leads to; empty for what has none."""
    names, at = [file.package], file
    while len(path) >= 2:
        field = at.DESCRIPTOR.fields_by_number[path[0]]
        at = getattr(at, field.name)[path[1]]
        # protobuf counts an enum's values among the names beside the enum.
        if field.name == "value":
            names.pop()
        names.append(at.name)
        path = path[2:]
    return "" if path or at is file else ".".join(names)


def refuse_too_new(stubs: Path) -> None:
    """Stubs run with the protobuf that wrote them or a newer one: they may not ask for more than pyproject.toml does.

    Raises:
        SystemExit: this environment's protoc is newer than what foveal promises to run with.
    """
    promised = promised_protobuf()
    for path in sorted(stubs.glob("*_pb2.py")):
        found = GENCODE.search(path.read_text())
        if found is None:
            raise SystemExit(f"{path.name} does not say which protobuf it needs; mend GENCODE in scripts/proto.py")
        needs = tuple(map(int, found.groups()))
        if needs > promised:
            raise SystemExit(
                f"grpcio-tools {version('grpcio-tools')} writes stubs for protobuf {'.'.join(map(str, needs))}, newer than the "
                f"{'.'.join(map(str, promised))} of pyproject.toml; pip install -c constraints.txt -e '.[dev]'"
            )


def promised_protobuf() -> tuple[int, int, int]:
    """The oldest protobuf that pyproject.toml allows."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (floor,) = [found[1] for line in wanted if (found := re.match(r"protobuf>=([\d.]+)", line))]
    major, minor, patch = (*map(int, floor.split(".")), 0, 0)[:3]
    return major, minor, patch


def same(a: Path, b: Path) -> bool:
    return b.exists() and filecmp.cmp(a, b, shallow=False)


def run(command: list[str], cwd: Path = ROOT) -> None:
    result = subprocess.run(command, cwd=cwd, check=False)
    if result.returncode != 0:
        raise SystemExit(result.returncode)


if __name__ == "__main__":
    raise SystemExit(main())
