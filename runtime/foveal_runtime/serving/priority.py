"""This process's share of the processor beside others. Linux alone: there, a priority is a thread's own."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def step_back(nice: int) -> None:
    """Lower the priority of every thread there is; those that start later inherit their parent's.

    A thread that has a lower one already keeps it: whoever starts a server with `nice` has taken that right away.

    Args:
        nice: 0 to 19, the least.
    """
    if sys.platform != "linux":
        return
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it ended after it was listed
            number = int(thread.name)
            if os.getpriority(os.PRIO_PROCESS, number) < nice:
                os.setpriority(os.PRIO_PROCESS, number, nice)
