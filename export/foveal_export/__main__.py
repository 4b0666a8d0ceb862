"""`python -m foveal_export --precision fp16`: the same as `foveal export`, for shells in which `export` is a builtin."""

from __future__ import annotations

import sys

from foveal_runtime.cli.main import run

if __name__ == "__main__":
    sys.exit(run(["export", *sys.argv[1:]]))
