"""What audit trail, access log and JSON log cost: photographs graded a second with all of them and with none, in turns.

    foveal compile models/edge
    python benchmarks/audit_cost.py models/edge PHOTOS --turns 20 --json benchmarks/results/audit_cost.json
    python benchmarks/audit_cost.py models/edge PHOTOS --everything --json benchmarks/results/network_cost.json

Two real servers run side by side with their caches off; one of them, then the other is sent a photograph a call by 32 callers
in a closed loop, the order changing from turn to turn. A turn's ratio is of its two rates, the processor time an answer is that
of the server and its workers. The trail lies in `--folder`, whose disk has to wait for every record. With `--everything` the
one side also speaks TLS, asks for a token and offers metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from access_cost import certificate, tokens
from foveal_runtime.client import ClientOptions
from processes import cpu_s, processes_of
from runtime_load import Caller, load_photographs, report, start_server


class Side:
    """A server, with or without."""

    def __init__(
        self,
        bundle: Path,
        flags: list[str],
        photographs: list[bytes],
        *,
        options: ClientOptions | None = None,
        token: str = "",
    ) -> None:
        self.process, self.address, _ = start_server(bundle.resolve(), flags)
        self._options, self._token = options, token
        self._photographs = photographs
        self.per_s: list[float] = []
        self.cpu_ms: list[float] = []

    async def turn(self, callers: int, seconds: float) -> None:
        """One turn's rate and processor time an answer."""
        caller = Caller(self.address, self._photographs, 1, options=self._options, token=self._token)
        before = cpu_s(processes_of(self.process.pid))
        per_s, times = await caller.closed(caller.single, callers, seconds)
        self.cpu_ms.append((cpu_s(processes_of(self.process.pid)) - before) * 1e3 / len(times))
        self.per_s.append(per_s)
        await caller.channel.close()

    def end(self) -> None:
        """Stop it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    photographs = load_photographs(args.photos, 32)
    with tempfile.TemporaryDirectory(prefix="foveal-audit-", dir=args.folder) as folder:
        flags = ["--audit", f"{folder}/trail", "--access-log", f"{folder}/access.log", "--log-format", "json"]
        options, secret = None, ""
        if args.everything:
            token, file = tokens(Path(folder))
            cert, key = certificate(Path(folder))
            flags += ["--tls-cert", str(cert), "--tls-key", str(key), "--tokens", str(file), "--metrics", "127.0.0.1:0"]
            options, secret = ClientOptions(tls_ca=cert), token.read_text().strip()
        without = Side(args.bundle, [], photographs)
        with_all = Side(args.bundle, flags, photographs, options=options, token=secret)
        try:
            for side in (without, with_all):
                await side.turn(args.callers, 3)
                side.per_s.clear()
                side.cpu_ms.clear()
            for turn in range(args.turns):
                for side in (without, with_all) if turn % 2 == 0 else (with_all, without):
                    await side.turn(args.callers, args.seconds)
                print(f"{without.per_s[-1]:.1f} {with_all.per_s[-1]:.1f}", file=sys.stderr)
        finally:
            without.end()
            with_all.end()
    ratios = [b / a for a, b in zip(without.per_s, with_all.per_s, strict=True)]
    cpu = [b / a for a, b in zip(without.cpu_ms, with_all.cpu_ms, strict=True)]
    return {
        "date": datetime.date.today().isoformat(),
        "callers": args.callers,
        "turns": args.turns,
        "everything": args.everything,
        "load_average": round(os.getloadavg()[0], 1),
        "per_s": {"without": spread(without.per_s), "with": spread(with_all.per_s)},
        "cpu_ms_an_answer": {"without": spread(without.cpu_ms), "with": spread(with_all.cpu_ms)},
        "ratio": {**spread(ratios), "geometric_mean": round(statistics.geometric_mean(ratios), 3)},
        "cpu_ratio": {**spread(cpu), "geometric_mean": round(statistics.geometric_mean(cpu), 3)},
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}  # type: ignore[dict-item]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--everything", action="store_true", help="TLS, a token and metrics as well")
    parser.add_argument("--folder", type=Path, help="where the trail lies; default: the system's temporary folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report(asyncio.run(measure(args)), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
