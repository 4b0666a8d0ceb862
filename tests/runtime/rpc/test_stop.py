"""SIGTERM: what was accepted is finished, also a call whose message still arrives, and the process ends."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from bundles import photograph
from http2 import DATA, END_STREAM, frame, frames_of, message, open_call
from servers import RunningServer

from foveal_runtime._proto import model_pb2
from foveal_runtime.study.study import Study


def test_sigterm_finishes_what_was_accepted_and_exits_0(bundle_path: Path) -> None:
    large = photograph(width=1200, height=900)
    studies = (Study(id=str(i), image=large, note="macula " * i) for i in range(40))
    with RunningServer(bundle_path) as running, running.client() as client:
        results = client.grade_stream(studies)
        first = next(results)
        running.process.send_signal(signal.SIGTERM)
        assert len([first, *results]) == 40
        assert running.process.wait(15) == 0


def test_sigterm_waits_for_a_message_that_still_arrives(bundle_path: Path) -> None:
    with RunningServer(bundle_path, "--drain", "20") as running:
        call = open_call(running.address, "/foveal.v1.Screening/GetModel")
        time.sleep(0.5)  # the call has arrived, its message has not
        running.process.send_signal(signal.SIGTERM)
        time.sleep(2)
        call.sendall(frame(DATA, END_STREAM, 1, message(b"")))
        answers = [payload for kind, _, number, payload in frames_of(call) if kind == DATA and number == 1]
        model = model_pb2.GetModelResponse.FromString(b"".join(answers)[5:])
        assert model.workers == 1
        assert running.process.wait(15) == 0
