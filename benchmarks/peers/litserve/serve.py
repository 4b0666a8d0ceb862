"""LitServe around foveal's graphs: a worker a core, batches, and a limit to how long a request may wait.

LitServe speaks HTTP alone. Its requests may have any type that FastAPI takes; bytes spare base64 in JSON.
"""

from typing import Annotated, Any

import litserve
from fastapi import Body

from peers.grader import Grader
from peers.settings import Settings


class Photograph(litserve.LitAPI):
    """What LitServe calls; its method names are LitServe's."""

    def setup(self, device: str) -> None:
        """Load the graphs in a worker."""
        self._grade = Grader(Settings.from_environment().bundle)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """The photograph's file."""
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Files are not stacked."""
        return inputs

    def predict(self, photographs: list[bytes]) -> list[list[float]]:
        """Probabilities of each."""
        return self._grade(photographs)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """One a request."""
        return output

    def encode_response(self, output: list[float]) -> Any:
        """As JSON."""
        return output


def main() -> None:
    """Serve until ended."""
    settings = Settings.from_environment()
    api = Photograph(max_batch_size=settings.batch, batch_timeout=settings.batch_wait_ms / 1e3)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=settings.workers, timeout=settings.queue_wait_ms / 1e3
    )
    server.run(host="127.0.0.1", port=settings.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
