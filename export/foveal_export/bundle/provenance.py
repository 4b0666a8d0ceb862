"""What a bundle was made with: libraries, commit of foveal, class of the processor it was judged on. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

from foveal_runtime.engine.processor import this_processor

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "timm", "transformers", "numpy", "pillow", "tokenizers")


def made_with() -> dict[str, str]:
    """Versions by name, and `commit`: `unknown` where foveal was installed from a wheel that does not say."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    machine = {"python": platform.python_version(), "machine": platform.machine(), "processor": str(this_processor())}
    return {**versions, **machine, "commit": commit()}


def commit(source: Path = Path(__file__)) -> str:
    """Commit of the foveal that is running, with `-dirty` when tracked files were changed since.

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
