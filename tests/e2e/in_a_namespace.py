"""Run inside a network namespace of its own: gives it a route that leads nowhere, runs every room's commands, and says as JSON
how many packets left loopback and which files are new. `test_no_network` starts it, as it starts its control.

    unshare --net python in_a_namespace.py FOLDER [control]
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from servers import RunningServer  # found beside: the test puts its folder on the path

OUTSIDE = ("192.0.2.1", "203.0.113.1")


def lead_nowhere() -> None:
    """Loopback, which gRPC and PyTorch need, and a default route to a cable whose other end listens to nobody."""
    # Of itself, IPv6 greets every new link.
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    for words in (
        "link set lo up", "link add out type veth peer name sink", "link set out arp off", "link set sink up",
        "link set out up", "address add 198.51.100.2/24 dev out", "route add default dev out",
    ):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True, capture_output=True)


def packets() -> int:
    """Sent so far to anywhere but loopback, and datagrams over loopback, as to a name server that listens there."""
    devices = dict(line.strip().split(":", 1) for line in Path("/proc/net/dev").read_text().splitlines()[2:])
    out = sum(int(counters.split()[9]) for name, counters in devices.items() if name != "lo")
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:"))
    over_udp = dict(zip(names, values, strict=True))["OutDatagrams"]
    return out + int(over_udp)


def send_some() -> None:
    """What the counter has to see: datagrams, a connection, a name."""
    for host in OUTSIDE:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", (host, 53))
    with contextlib.suppress(OSError), socket.create_connection((OUTSIDE[0], 443), timeout=0.2):
        pass


def foveal(*arguments: str | Path) -> str:
    words = [sys.executable, "-m", "foveal_runtime.cli.main", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
    return done.stdout


def every_room(folder: Path) -> dict[str, int]:
    """Train, export, verify, serve, grade, embed, index, search. Returns packets after each."""
    after: dict[str, int] = {}
    data, run, bundle = folder / "data", folder / "run", folder / "bundle"
    photographs = data / "fundus_photos"

    def step(name: str, *arguments: str | Path) -> str:
        said = foveal(*arguments)
        after[name] = packets()
        return said

    step("synthesise", "data", "synth", data, "--patients", "20", "--side-px", "96", "--balanced", "--seed", "7")
    step("train", "train", "--recipe", "tiny", "--set", "optimiser.epochs=1", "--data", f"brset:{data}", "--out", run)
    step("export", "export", run, "--precision", "fp32", "--out", bundle)
    step("verify", "verify", bundle, "--run", run)
    step("compile", "compile", bundle)
    flags = ("--allow-unverified", "--allow-untrained", "--store", str(folder / "archive"))
    with RunningServer(bundle, *flags) as server:
        at = ("--address", server.address)
        one = min(photographs.iterdir())
        graded = json.loads(step("grade", "grade", one, "--age", "61", "--json", *at))
        assert graded[0]["status"] == "OK"
        step("embed", "embed", one, "--kind", "image", *at)
        assert json.loads(step("index", "index", photographs, "--json", *at))["failed"] == 0
        found = json.loads(step("search by image", "search", "--image", one, "--k", "3", "--json", *at))
        assert len(found["hits"]) == 3
        step("search by text", "search", "macular edema", "--k", "3", *at)
    after["served"] = packets()
    return after


def main(folder: Path) -> None:
    """Everything new in the folders that programs write to unasked, and the packets."""
    lead_nowhere()
    before = packets()
    if "control" in sys.argv:
        send_some()
        document: dict[str, object] = {"packets": packets() - before}
    else:
        unasked = {name: folder / name for name in ("home", "tmp", "cache", "here")}
        for place in unasked.values():
            place.mkdir()
            place.chmod(0o1777)
        os.environ |= {"HOME": str(unasked["home"]), "TMPDIR": str(unasked["tmp"]), "FOVEAL_CACHE": str(unasked["cache"])}
        os.chdir(unasked["here"])
        after = every_room(folder)
        new = sorted(str(path.relative_to(folder)) for place in unasked.values() for path in place.rglob("*") if path.is_file())
        document = {"packets": packets() - before, "after": after, "new": new}
    sys.stdout.write(json.dumps(document) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
