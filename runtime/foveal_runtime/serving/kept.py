"""What `foveal compile` made and measured of a bundle on this machine, kept in its cache folder. Measures nothing itself."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.engine.cachefolder import check_private, private_folder
from foveal_runtime.engine.compiled import Compiled, entry_folder, find_compiled
from foveal_runtime.errors import ConfigError, StaleError

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.serving.config import ServeConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one setting reached."""

    workers: int
    threads: int
    max_batch: int
    studies_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ServePlan:
    """The chosen setting, and all that were measured."""

    workers: int
    threads: int
    max_batch: int
    measured: tuple[Measurement, ...]


def write_plan(folder: Path, plan: ServePlan) -> Path:
    """Keep a plan.

    Raises:
        ConfigError: the folder can't be written, or is not this user's alone.
    """
    private_folder(folder)
    path = folder / "plan.json"
    try:
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
        scratch.rename(path)
    except OSError as error:
        raise ConfigError(f"plan can't be kept in {folder} ({error.strerror}); set FOVEAL_CACHE to a writable folder") from None
    return path


def planned(config: ServeConfig, bundle: Bundle) -> ServeConfig:
    """With the workers, threads and batch that `foveal compile` measured for this bundle on this machine, where it did and
    nobody chose any of the three.
    """
    if config.chosen:
        return config
    try:
        plan = read_plan(entry_folder(bundle.sha256, config.provider))
    except ConfigError as error:
        log.warning("what `foveal compile` measured is not used: %s", error)
        return config
    if plan is None:
        return config
    batch = replace(config.batch, max_studies=plan.max_batch)
    return replace(config, workers=plan.workers, threads=plan.threads, batch=batch)


def read_plan(folder: Path) -> ServePlan | None:
    """The plan kept there; None when there is none, or one that can't be read: it is only a cache.

    Raises:
        ConfigError: the folder is not this user's alone.
    """
    if not (folder / "plan.json").exists():
        return None
    check_private(folder)
    try:
        document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        measured = tuple(Measurement(**entry) for entry in document.pop("measured"))
        return ServePlan(**document, measured=measured)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


async def compiled_graphs(bundle: Bundle, provider: str) -> Compiled | None:
    """What `foveal compile` made of a bundle on this device; None when it has not, or when that can't be trusted.

    An entry that is stale or damaged is compiled again, in a process of its own so that this one stays small.
    """
    try:
        return await asyncio.to_thread(find_compiled, bundle, provider, own=True)
    except ConfigError as error:
        log.warning("compiled graphs are not used: %s", error)
        return None
    except StaleError as error:
        log.warning("compiling again: %s", error)
    command = (sys.executable, "-m", "foveal_runtime.cli.main", "compile", bundle.path, "--provider", provider, "--graphs-only")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        if await process.wait() == 0:
            return await asyncio.to_thread(find_compiled, bundle, provider, own=True)
    except (ConfigError, StaleError) as error:
        log.warning("%s", error)
    finally:
        if process.returncode is None:
            process.kill()
    log.warning("the graphs could not be compiled again; loading the bundle's own")
    return None
