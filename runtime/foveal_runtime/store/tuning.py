"""PostgreSQL's settings for the machine it runs on. Text in, text out; the files are `postgres`'s."""

from __future__ import annotations

import os
from pathlib import Path

_MB = 1024 * 1024


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or the container's limit when that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            text = limit.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settings(log_folder: Path) -> str:
    """The text of foveal.conf."""
    memory = memory_bytes()
    # An eighth: the engine's workers need the rest, and the file cache serves what does not fit.
    shared = min(4096, max(64, memory // 8 // _MB))
    values: dict[str, object] = {
        "shared_buffers": f"{shared}MB",
        "effective_cache_size": f"{max(128, memory // 2 // _MB)}MB",
        "work_mem": "32MB",
        "maintenance_work_mem": "256MB",
        "max_connections": 64,
        "max_worker_processes": max(4, cores() + 2),
        "max_parallel_workers": cores(),
        "max_parallel_workers_per_gather": max(1, cores() // 2),
        # One query answers a person waiting: compiling it costs more than it saves.
        "jit": "off",
        "random_page_cost": 1.1,
        # Recovery replays at most this much; 10 s for a clinic box to be back.
        "max_wal_size": "1GB",
        "checkpoint_timeout": "5min",
        # A segment that is done with is removed, not renamed and kept with what it holds: an erased patient is to be gone.
        "wal_recycle": "off",
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "idle_in_transaction_session_timeout": "60s",
        "client_connection_check_interval": "2s",
        # Logs name no value of a caller: terse drops DETAIL lines ("Key (id)=(…)"), and no statement is written out.
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_min_messages": "warning",
        "log_statement": "none",
        "log_min_duration_statement": -1,
        "log_parameter_max_length": 0,
        "log_parameter_max_length_on_error": 0,
        "logging_collector": "on",
        "log_directory": str(log_folder),
        "log_filename": "postgres-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_line_prefix": "%m [%p] ",
        "timezone": "UTC",
    }
    return "".join(f"{name} = '{_quoted(str(value))}'\n" for name, value in values.items())


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
