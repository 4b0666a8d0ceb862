"""Ray Serve around foveal's graphs: a replica a core, dynamic request batching and a limited queue, on one node.

Ray's own processes (its store, its scheduler, its proxy and its controller) are this process's children.
"""

import asyncio
import os
import signal
import threading

import ray
from ray import serve
from starlette.requests import Request

from peers.grader import Grader
from peers.settings import Settings

SETTINGS = Settings.from_environment()
_STORE_BYTES = 100 << 20
"""Of Ray's object store: photographs of requests do not go through it, and 75 MB is the least that it takes."""


@serve.deployment(
    num_replicas=SETTINGS.workers,
    max_ongoing_requests=2 * SETTINGS.batch,
    max_queued_requests=SETTINGS.queued,
    ray_actor_options={"num_cpus": 1},
)
class Photograph:
    """What Ray Serve calls."""

    def __init__(self) -> None:
        """Load the graphs in a replica."""
        self._grade = Grader(SETTINGS.bundle)

    @serve.batch(max_batch_size=SETTINGS.batch, batch_wait_timeout_s=SETTINGS.batch_wait_ms / 1e3)
    async def grade(self, photographs: list[bytes]) -> list[list[float]]:
        """Probabilities of each; the replica's loop takes requests meanwhile."""
        return await asyncio.to_thread(self._grade, photographs)

    async def __call__(self, request: Request) -> list[float]:
        """Grade a request's body."""
        found: list[float] = await self.grade(await request.body())
        return found


def main() -> None:
    """Serve until ended."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    ray.init(
        num_cpus=SETTINGS.workers,
        include_dashboard=False,
        object_store_memory=_STORE_BYTES,
        log_to_driver=False,
        _temp_dir=os.environ["FOVEAL_PEER_SCRATCH"],
    )
    options = {"host": "127.0.0.1", "port": SETTINGS.port, "request_timeout_s": SETTINGS.deadline_ms / 1e3}
    serve.start(http_options=options)
    serve.run(Photograph.bind())
    over.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
