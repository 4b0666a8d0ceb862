"""What a sandbox reaches on this machine, tried in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from foveal_runtime.sandbox.confine import Confinement, Policy, confine


def probe(policy: Policy) -> Confinement:
    """What a process under `policy` reaches here; it ends at once.

    Args:
        policy: to try.
    """
    command = [sys.executable, "-m", "foveal_runtime.sandbox.probe", policy.to_text()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        return Confinement(missing=(f"tried: the attempt ended with {done.returncode}",))
    values = json.loads(done.stdout)
    return Confinement(measures=tuple(values["measures"]), missing=tuple(values["missing"]))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(confine(Policy.from_text(sys.argv[1])))))
