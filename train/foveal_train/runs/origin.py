"""Where a run comes from: command, commit of foveal, libraries, machine. Reads no data and changes nothing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import torch

from foveal_runtime.engine.processor import this_processor
from foveal_train.runs.run import Origin

_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "WORLD_SIZE")
"""Of the environment, those that change how fast or on what a run trains."""


def origin(command: str, environ: Mapping[str, str] = os.environ) -> Origin:
    """What is known now of a run that is being made.

    Args:
        command: as a person would type it again; empty when none was typed.
        environ: the environment's variables.
    """
    return Origin(command=command, commit=commit(), environment=environment(environ))


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Machine and threads: what a comparison of two runs asks for first."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    known = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": str(this_processor()),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "gpu": gpu,
    }
    return {**known, **{name: environ[name] for name in _VARIABLES if name in environ}}


def commit(source: Path = Path(__file__)) -> str:
    """Commit of the foveal that is running, with `-dirty` when tracked files were changed since; `unknown` where nothing says.

    Args:
        source: a file of foveal; a checkout is one whose git tracks it, so that a repository around an environment is none.
    """
    try:
        text = importlib.metadata.distribution("foveal").read_text("direct_url.json")
        installed = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        installed = None
    if installed:
        return str(installed)
    if _git(source, "ls-files", "--error-unmatch", source.name) is None:
        return "unknown"
    head = _git(source, "rev-parse", "HEAD")
    changed = _git(source, "status", "--porcelain", "--untracked-files=no")
    return "unknown" if head is None else head.strip() + ("-dirty" if changed else "")


def _git(source: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(source.parent), *words], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
