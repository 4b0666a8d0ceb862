"""What tokens and TLS cost a call of the server: processor time of its processes, which a busy machine changes little.

    python benchmarks/access_cost.py models/edge ../shared/data/idrid --calls 200 --rounds 5

Four servers of one worker each, without cache: plain text and TLS, each without and with tokens. They get the same photographs,
one study a call and one call at a time, in turns: each round asks every server, in another order. Figures are medians over the
rounds of processor milliseconds a call, of the server's process (gRPC, messages, tokens, TLS) and of its worker (the study).
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
import subprocess
import tempfile
import timeit
from contextlib import ExitStack
from pathlib import Path

from foveal_runtime.access.roles import Role
from foveal_runtime.access.tokenfile import change_tokens, read_tokens
from foveal_runtime.access.tokens import Row, Tokens, new_token
from foveal_runtime.cli.local_server import LocalServer
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.rpc.access import Gate
from foveal_runtime.study.study import Study
from processes import cpu_s, processes_of
from runtime_load import load_photographs

_CALLERS = 50
"""Rows of the file of tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--calls", type=int, default=200, help="calls of each server in each round")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    studies = [Study(image=data) for data in load_photographs(asked.photographs, 20)]
    with ExitStack() as open_, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token, file = tokens(folder)
        cert, key = certificate(folder)
        flags = {
            "plain": (),
            "tokens": ("--tokens", str(file)),
            "tls": ("--tls-cert", str(cert), "--tls-key", str(key)),
            "tls+tokens": ("--tls-cert", str(cert), "--tls-key", str(key), "--tokens", str(file)),
        }
        servers, clients = {}, {}
        for kind, more in flags.items():
            server = LocalServer(
                asked.bundle, "--workers", "1", "--cache-entries", "0", "--self-test-every", "0", *more, echo=None
            )
            servers[kind] = open_.enter_context(server)
            options = ClientOptions(tls_ca=cert if "tls" in kind else None, token_file=token if "tokens" in kind else None)
            clients[kind] = open_.enter_context(Client(server.address, options))
            clients[kind].grade(studies[:1])
        spent: dict[str, list[tuple[float, float]]] = {kind: [] for kind in flags}
        for number in range(asked.rounds):
            for kind in random.Random(number).sample(list(flags), len(flags)):
                before = processor_ms(servers[kind])
                for call in range(asked.calls):
                    clients[kind].grade([studies[call % len(studies)]])
                server_ms, worker_ms = processor_ms(servers[kind])
                spent[kind].append(((server_ms - before[0]) / asked.calls, (worker_ms - before[1]) / asked.calls))
        ms = {
            kind: {"server": statistics.median(s for s, _ in rows), "worker": statistics.median(w for _, w in rows)}
            for kind, rows in spent.items()
        }
        print(json.dumps({"ms_a_call": ms, "gate_us": gate_us(file, token)}, indent=1))


def tokens(folder: Path) -> tuple[Path, Path]:
    """A caller's token, and the file of many."""
    file, own = folder / "tokens.json", folder / "token"
    made = [new_token() for _ in range(_CALLERS)]
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    rows = [
        Row(name=f"camera-{number}", roles=frozenset({Role.GRADE}), expires=end, token=kept)
        for number, (_, kept) in enumerate(made)
    ]
    change_tokens(file, lambda _: Tokens(rows), make=True)
    own.touch(0o600)
    own.write_text(made[-1][0])
    return own, file


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine that signed itself, and its key."""
    cert, key = folder / "server.pem", folder / "server.key"
    names = ("-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    command = ["openssl", "req", "-x509", *kind, *names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def processor_ms(server: LocalServer) -> tuple[float, float]:
    """Of the server's process and of its workers, since they began."""
    own, *workers = processes_of(server.process.pid)
    return cpu_s([own]) * 1e3, cpu_s(workers) * 1e3


def gate_us(file: Path, token: Path) -> float:
    """Microseconds that the gate itself takes, best of 20 series: what a call of one role asks."""
    rows, text = read_tokens(file), token.read_text().strip()

    class Call:
        def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
            return (("user-agent", "grpc"), ("authorization", f"Bearer {text}"))

    gate, call = Gate(lambda: rows), Call()
    return min(timeit.repeat(lambda: gate.enter("/foveal.v1.Screening/Grade", call), number=2000, repeat=20)) / 2000 * 1e6


if __name__ == "__main__":
    main()
