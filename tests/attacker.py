"""Callers that no server should suffer from, in a process of their own: `with Attack("streams", address, ...) as attack:`.

Each attack is a generator of what one connection sends. What came back is counted, and told when the attack is over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Self

import grpc
from beside import from_elsewhere
from bundles import photograph

from foveal_runtime._proto import screening_pb2, study_pb2
from foveal_runtime.rpc.status import error_of_rpc

_ROOM = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def padded(size_bytes: int) -> study_pb2.Study:
    """A photograph that is read in no time, and so many bytes."""
    image = photograph(5)
    return study_pb2.Study(image=study_pb2.Image(encoded=image + bytes(max(0, size_bytes - len(image)))))


def streams(size_bytes: int, messages: int) -> Iterator[bytes]:
    """Studies as fast as they are taken."""
    one = screening_pb2.GradeStreamRequest(study=padded(size_bytes)).SerializeToString()
    for _ in range(messages):
        yield one


def idle(size_bytes: int, messages: int) -> Iterator[bytes]:
    """So many studies, perhaps none, and then nothing for as long as the stream lives."""
    yield from streams(size_bytes, messages)
    time.sleep(3600)


def calls(size_bytes: int, messages: int) -> Iterator[bytes]:
    """Requests of one study, each sent when the one before has been answered."""
    one = screening_pb2.GradeRequest(studies=[padded(size_bytes)]).SerializeToString()
    for _ in range(messages):
        yield one


ATTACKS: dict[str, Callable[[int, int], Iterator[bytes]]] = {"streams": streams, "idle": idle, "calls": calls}


def attack(kind: str, address: str, size_bytes: int, messages: int, counted: Counter[str]) -> None:
    """One connection's worth of an attack."""
    with grpc.insecure_channel(address, options=_ROOM) as channel:
        if kind == "calls":
            call = channel.unary_unary("/foveal.v1.Screening/Grade", None, screening_pb2.GradeResponse.FromString)
            for request in ATTACKS[kind](size_bytes, messages):
                try:
                    counted["answered" if call(request, timeout=120).results[0].HasField("grade") else "failed"] += 1
                except grpc.RpcError as error:
                    counted[type(error_of_rpc(error, address)).__name__] += 1
                    time.sleep(0.01)
            return
        stream = channel.stream_stream("/foveal.v1.Screening/GradeStream", None, screening_pb2.GradeStreamResponse.FromString)
        try:
            for response in stream(ATTACKS[kind](size_bytes, messages)):
                counted["answered" if response.result.HasField("grade") else "failed"] += 1
        except grpc.RpcError as error:
            counted[type(error_of_rpc(error, address)).__name__] += 1


class Attack:
    """A running attack. It ends by itself when all is answered, or with the block."""

    def __init__(
        self, kind: str, address: str, *, connections: int, size_bytes: int, messages: int, elsewhere: bool = False
    ) -> None:
        """Args:
        kind: one of `ATTACKS`.
        address: of the server.
        connections: that attack.
        size_bytes: of a message.
        messages: on each connection.
        elsewhere: it comes from another machine than the test, as the server sees it.
        """
        numbers = [str(each) for each in (connections, size_bytes, messages)]
        self._command = [sys.executable, __file__, kind, address, *numbers, *(["--elsewhere"] if elsewhere else [])]
        self.counted: Counter[str] = Counter()
        """Answers and errors, by class; complete after `finish`."""

    def __enter__(self) -> Self:
        path = os.pathsep.join(each for each in sys.path if each)
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "attacking\n"
        return self

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def finish(self, timeout_s: float = 120.0) -> Counter[str]:
        """Wait until everything that was sent is answered."""
        told, _ = self._process.communicate(timeout=timeout_s)
        self.counted = Counter(json.loads(told))
        return self.counted

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Attack, and tell what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=ATTACKS)
    parser.add_argument("address")
    for name in ("connections", "size_bytes", "messages"):
        parser.add_argument(name, type=int)
    parser.add_argument("--elsewhere", action="store_true")
    given = parser.parse_args()
    os.nice(10)  # an attacker has a machine of its own: what it computes itself is no part of the attack

    def all_of(address: str) -> None:
        counted: Counter[str] = Counter()
        work: tuple[Any, ...] = (given.kind, address, given.size_bytes, given.messages, counted)
        threads = [threading.Thread(target=attack, args=work, daemon=True) for _ in range(given.connections)]
        for thread in threads:
            thread.start()
        sys.stdout.write("attacking\n")
        sys.stdout.flush()
        for thread in threads:
            thread.join()
        sys.stdout.write(json.dumps(counted))

    if given.elsewhere:
        with from_elsewhere(given.address) as address:
            all_of(address)
    else:
        all_of(given.address)


if __name__ == "__main__":
    main()
