"""Make the blocking client from the asynchronous one, so that nothing is written twice by hand.

python scripts/client.py            write runtime/foveal_runtime/client/blocking.py
python scripts/client.py --check    fail when it is stale
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "runtime" / "foveal_runtime" / "client" / "aio.py"
TARGET = SOURCE.with_name("blocking.py")
HEADER = '"""The blocking client. Made from `aio.py` by scripts/client.py: change that one, then run it."""\n'
WORDS = {
    "AsyncClient": "Client",
    "aio": "",
    "AsyncIterable": "Iterable",
    "aiter": "iter",
    "asyncio": "time",  # of which it takes `sleep` alone
    "open_aio_channel": "open_channel",
    "diagnose_aio": "diagnose",
}
"""Words that change besides what `unasync` knows by itself."""


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the client is stale")
    check = parser.parse_args().check
    made = blocking(SOURCE.read_text(encoding="utf-8"))
    if check and made != TARGET.read_text(encoding="utf-8"):
        print(f"{TARGET.relative_to(ROOT)} is stale; run `make client`", file=sys.stderr)
        return 1
    if not check:
        TARGET.write_text(made, encoding="utf-8")
    return 0


def blocking(source: str) -> str:
    """The blocking client's source."""
    body = source[source.index("from __future__") :].replace("grpc.aio.", "grpc.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "from" / "client.py"
        path.parent.mkdir()
        path.write_text(body, encoding="utf-8")
        rule = unasync.Rule(f"{folder}/from/", f"{folder}/to/", additional_replacements=WORDS)
        unasync.unasync_files([str(path)], [rule])
        text = HEADER + "\n" + (Path(folder) / "to" / "client.py").read_text(encoding="utf-8")
    for command in (("check", "--select", "I", "--fix", "--exit-zero", "--quiet"), ("format", "--quiet")):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return text


if __name__ == "__main__":
    raise SystemExit(main())
