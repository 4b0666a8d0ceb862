"""Vectors of an archive's parts into the archive of a running server. Embeds nothing, and the server embeds nothing either."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from foveal_runtime.cli.layout import printable
from foveal_runtime.cli.waiting import Patience
from foveal_runtime.cluster.ledger import rows_of

if TYPE_CHECKING:
    from types import TracebackType

    from foveal_runtime.cli.client import Connection
    from foveal_runtime.client import Client

_AT_ONCE = 100
"""Entries of one call."""


class Stored:
    """`with Stored(connection, space_id, site) as stored:`; storing a part again changes nothing."""

    def __init__(self, connection: Connection | None, space_id: str, site: str) -> None:
        """Args:
        connection: of the server; None stores nothing.
        space_id: of the vectors; a server of another space refuses them.
        site: of every entry that names none.
        """
        self._connection, self._space_id, self._site = connection, space_id, site
        self._client: Client | None = None
        self._known: set[str] = set()
        self.count = self.refused = 0

    @property
    def wanted(self) -> bool:
        """Whether a server's archive is filled."""
        return self._connection is not None

    def __enter__(self) -> Self:
        """Reach the server.

        Raises:
            FovealError: there is none, or it keeps no archive.
        """
        if self._connection is not None:
            self._client = self._connection.open().__enter__()
            self._patience = Patience(self._connection.timeout)
            self._patience(self._client.stats)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None:
            self._client.close()

    def part(self, path: Path) -> None:
        """Store the entries of a part. Of copies, whose photographs are the same bytes, the first is the entry."""
        if self._client is None:
            return
        from foveal_runtime._proto import archive_pb2

        for entries in self._entries(path):
            request = archive_pb2.UpsertRequest(entries=entries, space_id=self._space_id)
            client = self._client
            response = self._patience(lambda client=client, request=request: client.upsert(request))  # type: ignore[misc]
            for entry, result in zip(entries, response.results, strict=True):
                if result.WhichOneof("outcome") == "error":
                    self.refused += 1
                    sys.stderr.write(f"error: {printable(entry.facts.source)}: {result.error.message}\n")
                else:
                    self.count += 1

    def _entries(self, path: Path) -> Iterator[Sequence[Any]]:
        entries = []
        for row in rows_of(path):
            if row["id"] not in self._known:
                self._known.add(row["id"])
                entries.append(entry_of(row, self._site))
            if len(entries) == _AT_ONCE:
                yield entries
                entries = []
        if entries:
            yield entries


def entry_of(row: dict[str, Any], site: str) -> Any:
    """What is stored of a row.

    Args:
        row: of a part of vectors.
        site: where the row names none.
    """
    from foveal_runtime._proto import archive_pb2, screening_pb2
    from foveal_runtime.engine.answers import VectorKind
    from foveal_runtime.rpc.archive_messages import facts_to
    from foveal_runtime.rpc.messages import KIND_TO
    from foveal_runtime.store.entry import Facts
    from foveal_runtime.study.labels import is_referable

    known = json.loads(row["facts"]) if row["facts"] else {}
    acquired = known.get("acquired")
    facts = Facts(
        id=row["id"],
        patient=known.get("patient", ""),
        eye=known.get("eye", ""),
        camera=known.get("camera", ""),
        site=known.get("site", "") or site,
        acquired=date.fromisoformat(acquired) if acquired else None,
        icdr=known.get("icdr"),
        referable=is_referable(known.get("icdr")),
        source=row["source"],
    )
    vectors = [
        screening_pb2.Vector(kind=KIND_TO[kind], values=row[f"{kind.value}_vector"])
        for kind in VectorKind
        if row.get(f"{kind.value}_vector") is not None
    ]
    return archive_pb2.Entry(facts=facts_to(facts), vectors=archive_pb2.VectorSet(vectors=vectors))
