"""How an archive is opened: limits, timeouts and the switch between exact and approximate search. No behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from foveal_runtime.errors import ConfigError


class ReplicaReads(StrEnum):
    """Which writes a search that a standby answers sees at least."""

    ALL_WRITES = "all-writes"
    """Every write that any server had acknowledged when the search came: the owner is asked how far its log is."""
    OWN_WRITES = "own-writes"
    """Those of the server that searches; those of others when the standby has them. The owner is not asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreOptions:
    """Settings of one open archive; the defaults suit a two-core clinic box."""

    connections_min: int = 1
    """Connections kept open."""
    connections_max: int = 8
    """Connections at most; further calls wait."""
    statement_timeout_s: float = 30.0
    """A single statement of a request is cancelled after this long."""
    connect_timeout_s: float = 10.0
    """For a server that does not answer, and for a free connection of the pool."""
    retry_for_s: float = 15.0
    """How long a request is retried over serialisation failures and lost connections; covers a restart of PostgreSQL."""
    start_timeout_s: float = 3600.0
    """Embedded: longest start, crash recovery included. It is left alone as long as the process lives and makes progress."""
    index_from_rows: int = 20_000
    """A collection's kind is searched exactly below this many vectors, and gets an HNSW index from here on."""
    exact_filter_cost: float = 15.0
    """A filter that keeps at most sqrt(this * k * vectors) rows is answered by comparing them all: that costs in proportion to
    the rows kept, the index in inverse proportion to their share (docs/decisions.md has the measurement). 0: never."""
    ef_search: int = 100
    """Candidates the HNSW search keeps: more is slower and finds more (docs/decisions.md has the measurement)."""
    maintain: bool = True
    """Build indexes in the background while serving. Several servers on one database agree on who does."""
    maintain_every_s: float = 30.0
    """Pause between looks at what needs an index."""
    recall_every_s: float = 3600.0
    """Pause between two comparisons of the index with exact search on stored vectors, for metrics; 0: never."""
    recall_sample: int = 20
    """Vectors of each indexed kind compared then; each costs an exact search."""
    replica_max_lag_s: float = 10.0
    """A standby further behind the owner answers no search, nor does any once the owner has not been heard of for this long."""
    replica_reads: ReplicaReads = ReplicaReads.ALL_WRITES
    """Which writes a search that a standby answers sees: all-writes that were acknowledged by any server, or own-writes of the
    server that searches, which spares the owner a question a search."""
    patient_key: bytes | None = field(default=None, repr=False)
    """With a key, patient references are stored and filtered as HMAC-SHA256 of themselves."""
    password: str | None = field(default=None, repr=False)
    """Of the role that a postgresql:// URL names; None leaves it to libpq: PGPASSFILE, ~/.pgpass, a service."""
    run_as: str = ""
    """Embedded, started as root: the unprivileged user PostgreSQL runs as. Empty: the folder's owner, `foveal`, `postgres`
    or `nobody`, the first that exists."""

    def __post_init__(self) -> None:
        if not 1 <= self.connections_min <= self.connections_max <= 500:
            raise ConfigError(f"connections are {self.connections_min} to {self.connections_max}; want 1 <= min <= max <= 500")
        for name in ("statement_timeout_s", "connect_timeout_s", "start_timeout_s", "maintain_every_s", "replica_max_lag_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; want a number above 0")
        for name in ("retry_for_s", "exact_filter_cost", "recall_every_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; want 0 or more")
        if not 1 <= self.recall_sample <= 1000:
            raise ConfigError(f"recall_sample is {self.recall_sample}; want 1 to 1000")
        if not 10 <= self.ef_search <= 1000:
            raise ConfigError(f"ef_search is {self.ef_search}; pgvector takes 1 to 1000, below 10 finds too little")
