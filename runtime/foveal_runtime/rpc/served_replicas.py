"""Standbys of a server's archive as Prometheus and `GetStatus` have them: by number, never by name. Watches none of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from foveal_runtime._proto import admin_pb2
from foveal_runtime.rpc.metrics import Figure, metric
from foveal_runtime.store.replica import ReplicaState

if TYPE_CHECKING:
    from foveal_runtime.rpc.served_archive import ServedArchive

_NUMBER = "standbys are numbered from 1, in the order in which they were named"
UP = Figure("foveal_archive_replica_up", "gauge", f"1 where a standby answers searches; {_NUMBER}.", ("replica",))
LAG = Figure(
    "foveal_archive_replica_lag_seconds", "gauge", "What a standby holds is all that the owner had so long ago, or less.",
    ("replica",),
)  # fmt: skip
READS = Figure(
    "foveal_archive_reads_total", "counter",
    "Searches and listings that a standby may answer, by who did: its number, or `owner`; of servers with standbys.", ("by",),
)  # fmt: skip
FIGURES = (UP, LAG, READS)

_STATE_TO = {
    ReplicaState.SERVING: admin_pb2.REPLICA_STATE_SERVING,
    ReplicaState.BEHIND: admin_pb2.REPLICA_STATE_BEHIND,
    ReplicaState.AWAY: admin_pb2.REPLICA_STATE_AWAY,
    ReplicaState.UNFIT: admin_pb2.REPLICA_STATE_UNFIT,
}


class ServedReplicas:
    """Of one server; without standbys it tells nothing. A collector in Prometheus's sense."""

    def __init__(self, archive: ServedArchive) -> None:
        """Args:
        archive: of the server.
        """
        self._archive = archive

    def describe(self) -> list[Any]:
        """Nothing: names are known."""
        return []

    def collect(self) -> Iterator[Any]:
        """Every figure, as it is now."""
        statuses = self._archive.replicas
        if not statuses:
            return
        yield metric(UP, {(str(each.number),): each.state is ReplicaState.SERVING for each in statuses})
        yield metric(LAG, {(str(each.number),): each.lag_s for each in statuses if each.lag_s is not None})
        answered: dict[tuple[str, ...], float] = {(str(each.number),): each.reads for each in statuses}
        yield metric(READS, {("owner",): self._archive.reads_by_owner, **answered})

    def messages(self) -> list[admin_pb2.ArchiveReplica]:
        """What `GetStatus` says of them."""
        return [
            admin_pb2.ArchiveReplica(number=each.number, state=_STATE_TO[each.state], lag_s=each.lag_s, reads=each.reads)
            for each in self._archive.replicas
        ]
