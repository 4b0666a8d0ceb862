"""A worker process that computes otherwise while a file says so: put this folder on PYTHONPATH. Python runs it at every start.

FOVEAL_TEST_DRIFT names the file: absent or empty, all is well; `all` is every worker, `not 12 34` all but these processes.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path


def _drifts() -> bool:
    try:
        words = Path(os.environ["FOVEAL_TEST_DRIFT"]).read_text().split()
    except OSError:
        return False
    return words == ["all"] or (words[:1] == ["not"] and str(os.getpid()) not in words)


if "FOVEAL_TEST_DRIFT" in os.environ and "foveal_runtime.serving.worker" in sys.orig_argv:
    from foveal_runtime.engine import engine

    true_run = engine.Engine.run_each

    def run_each(self, prepared, asks):
        outcomes = true_run(self, prepared, asks)
        if not _drifts():
            return outcomes
        return [replace(each, logits={head: row[::-1].copy() for head, row in each.logits.items()}) for each in outcomes]

    engine.Engine.run_each = run_each
