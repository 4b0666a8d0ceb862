"""The archive of a server: opened for one space, watched, measured, counted, closed. Serves no call itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal_runtime.errors import ConfigError, FovealError, LoadingError, UnavailableError
from foveal_runtime.lifecycle import Event, tell

if TYPE_CHECKING:
    from foveal_runtime.bundle.manifest import Manifest
    from foveal_runtime.serving.config import ServeConfig
    from foveal_runtime.store import Archive, Stats
    from foveal_runtime.store.database import Database
    from foveal_runtime.store.replica import ReplicaStatus

log = logging.getLogger(__name__)

_CHECK_S = 2.0
_FIRST_RECALL_S = 60.0


class ServedArchive:
    """An archive that may have been asked for, and may be open."""

    def __init__(self, config: ServeConfig, on_change: Callable[[], None]) -> None:
        """Args:
        config: of the server; opens nothing yet.
        on_change: called when it was lost or is back.
        """
        self._config = config
        self._on_change = on_change
        self._options = config.archive
        self._reaching: asyncio.Task[Database] | None = None
        self._archive: Archive | None = None
        self._alive = False

    @property
    def alive(self) -> bool | None:
        """Whether it answers; None when none was asked for."""
        return self._alive if self._config.store else None

    @property
    def measures_recall(self) -> bool:
        """Whether its approximate search is compared with the exact one now and then."""
        return self._config.archive.recall_every_s > 0

    def begin(self) -> None:
        """Start or reach the database, while a bundle is being loaded; `open` waits for it.

        Raises:
            ConfigError: a library or the password is missing.
        """
        try:
            from foveal_runtime.store.database import Database
        except ModuleNotFoundError as error:
            raise ConfigError(f"--store needs {error.name!r}, which is not installed; install foveal[store]") from None
        from foveal_runtime.store.location import read_password

        config = self._config
        self._options = config.archive
        if config.store_password_file is not None:
            self._options = replace(self._options, password=read_password(config.store_password_file))
        self._reaching = asyncio.create_task(Database.open(config.store, self._options))

    async def open(self, manifest: Manifest) -> None:
        """Open it for the vectors of a bundle, after `begin`.

        Raises:
            FovealError: the store is unusable, holds another space, or the key of its patient references is missing.
        """
        from foveal_runtime.store import Archive

        assert self._reaching is not None
        database = await self._reaching
        self._options = replace(self._options, patient_key=await self._key(database))
        self._archive = await Archive.within(
            database,
            space_id=manifest.space_id,
            dim=manifest.embedding_dim,
            collection=self._config.collection,
            options=self._options,
            replicas=self._config.store_replicas,
        )
        self._alive = True

    async def _key(self, database: Database) -> bytes | None:
        from foveal_runtime.store.references import References, keyed
        from foveal_runtime.store.schema import all_collections

        config = self._config
        found = keyed(
            await database.run(all_collections),
            config.collection,
            location=config.store,
            wanted=References(config.patient_references),
            named=config.hash_patients,
        )
        if found.made is not None:
            made = f"made the key of patient references, {found.made}; keep a copy apart from the store's backups"
            tell(Event.PATIENT_KEY_MADE, made)
        if found.warning:
            log.warning("%s", found.warning)
        return found.key

    def get(self) -> Archive | None:
        """The archive; None when none was asked for.

        Raises:
            LoadingError: it was asked for and is not open yet: the port answers before the start is over.
        """
        if self._archive is None and self._config.store:
            raise LoadingError("the archive is not open yet; wait for the health service to say SERVING, and send again")
        return self._archive

    @property
    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """How each of its standbys is; none before it is open."""
        return () if self._archive is None else self._archive.replicas

    @property
    def reads_by_owner(self) -> int:
        """Searches and listings that a standby might have answered and the owner did."""
        return 0 if self._archive is None else self._archive.reads_by_owner

    async def watch(self) -> None:
        """Notice for ever when it is lost, and when it is back."""
        while True:
            await asyncio.sleep(_CHECK_S)
            if self._archive is None:
                continue
            alive = await self._archive.alive()
            if alive != self._alive:
                if alive:
                    tell(Event.STORE_BACK, "store is back")
                else:
                    tell(Event.STORE_LOST, "store is lost", level=logging.ERROR)
                self._alive = alive
                self._on_change()

    async def measure(self) -> None:
        """Compare the approximate search with the exact one now and then, for `Stats` and the metrics."""
        from foveal_runtime.store.monitor import measure_recall

        every_s = self._config.archive.recall_every_s
        wait_s = min(_FIRST_RECALL_S, every_s)
        while True:
            await asyncio.sleep(wait_s)
            wait_s = every_s
            if self._archive is None:
                continue
            try:
                await measure_recall(self._archive, sample=self._archive.options.recall_sample)
            except FovealError as error:
                log.warning("recall could not be measured: %s", error)

    async def count(self) -> Stats:
        """What it holds.

        Raises:
            UnavailableError: it is not open yet.
        """
        if self._archive is None:
            raise UnavailableError("the archive is not open yet")
        return await self._archive.stats()

    async def close(self) -> None:
        """Idempotent."""
        reaching, self._reaching = self._reaching, None
        archive, self._archive = self._archive, None
        if archive is not None:
            await archive.close()
        elif reaching is not None:
            reaching.cancel()
            (database,) = await asyncio.gather(reaching, return_exceptions=True)
            if not isinstance(database, BaseException):
                await database.close()
