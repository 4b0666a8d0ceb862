"""Other servers beside foveal's: their configuration, how answers are judged, how turns are compared and shown."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from peers.alone import alone_per_s
from peers.compare import BEST, FOVEAL, compared, ratios, spread
from peers.environments import is_made
from peers.load import GONE, Reply
from peers.measure import NotMeasured, Plan
from peers.photographs import TOLERANCE, agrees
from peers.render import write_plot, write_tables
from peers.senders import SENDERS, HttpSender
from peers.settings import NAMES, Advice, Settings
from peers.tally import Call, Came, summary
from serving_peers import measured

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benchmarks" / "peers"
GOOD = (0.05, 0.15, 0.3, 0.3, 0.2)


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_has_its_configuration_and_pinned_requirements(name: str) -> None:
    advice = Advice.read(name)
    assert advice.batch > 1
    assert all(page.startswith("https://") for page in advice.documentation)
    lines = (PEERS / name / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert advice.package in pins
    assert ("numpy" in pins, "onnxruntime" in pins, "pillow" in pins) == (True, True, True)
    assert name in SENDERS


def test_peers_decode_with_the_same_libraries_and_run_graphs_with_the_same_onnx_runtime() -> None:
    texts = [(PEERS / name / "requirements.txt").read_text() for name in NAMES]
    constraints = (ROOT / "constraints.txt").read_text()
    for package in ("onnxruntime", "pillow"):
        found = {version for text in texts for version in re.findall(rf"^{package}==(.+)$", text, re.M)}
        assert found == set(re.findall(rf"^{package}==(.+)$", constraints, re.M))


def test_settings_reach_a_peers_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        bundle="models/edge",
        port=7000,
        workers=2,
        batch=4,
        batch_wait_ms=5.0,
        queue_wait_ms=400.0,
        queued=16,
        deadline_ms=500.0,
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment() == settings


def test_an_environment_of_other_requirements_is_none(tmp_path: Path) -> None:
    note = tmp_path / "ray" / "foveal-requirements.txt"
    assert not is_made(tmp_path, "ray")
    note.parent.mkdir()
    note.write_bytes((PEERS / "ray" / "requirements.txt").read_bytes())
    assert is_made(tmp_path, "ray")
    note.write_text("ray==1.0\n")
    assert not is_made(tmp_path, "ray")


@pytest.mark.parametrize(
    ("got", "same"),
    [
        (GOOD, True),
        (tuple(each * math.exp(TOLERANCE / 2) for each in GOOD), True),
        (tuple(each * math.exp(2 * TOLERANCE) for each in GOOD), False),
        (GOOD[::-1], False),
        (GOOD[:4], False),
        ((), False),
        ((0.0, *GOOD[1:]), False),
        ((float("nan"), *GOOD[1:]), False),
    ],
)
def test_answers_are_foveals_within_the_tolerance_of_logits(got: tuple[float, ...], same: bool) -> None:
    assert agrees(got, GOOD) is same


def asked(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], ask: Any) -> Any:
    """What `ask` gives of a sender to a server that handles connections so."""

    async def whole() -> Any:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = HttpSender(f"127.0.0.1:{port}", [b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"])
        try:
            return await ask(sender)
        finally:
            await sender.close()
            server.close()

    return asyncio.run(whole())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[0.5,0.5]", Reply(code="OK", probabilities=(0.5, 0.5))),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n[[0.5,0.5]]", Reply(code="OK", probabilities=(0.5, 0.5))),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[0.5,\r\n4\r\n0.5]\r\n0\r\n\r\n",
            Reply(code="OK", probabilities=(0.5, 0.5)),
        ),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", Reply(code="HTTP 503")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[0.5", Reply(code=GONE)),
    ],
)
def test_http_answers_are_read_and_connections_kept(answer: bytes, expected: Reply) -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.read(1000):
            writer.write(answer)
            if expected.code == GONE:
                break
        writer.close()

    async def ask(sender: HttpSender) -> list[Reply]:
        return [await sender.send(0, 30.0) for _ in range(3)]

    assert asked(handle, ask) == [expected] * 3
    assert connections == (3 if expected.code == GONE else 1)


def test_a_caller_that_leaves_closes_its_connection() -> None:
    gone: list[bool] = []

    async def ask(sender: HttpSender) -> bool:
        with pytest.raises(TimeoutError):
            await sender.send(0, 0.05)
        async with asyncio.timeout(30):
            while not gone:
                await asyncio.sleep(0.01)
        return gone[0]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(1000)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            gone.append(True)
        writer.close()

    assert asked(handle, ask)


def row(per_s: float, took_s: float, refused: int = 0) -> dict[str, Any]:
    """As `measure` makes it of a load of ten seconds."""
    answered = [Call(due_s=0, sent_s=0, ended_s=took_s, came=Came.RIGHT, code="OK")] * round(per_s * 10)
    others = [Call(due_s=0, sent_s=0, ended_s=0.004, came=Came.REFUSED, code="HTTP 503")] * refused
    return summary([*answered, *others], 10.0, 0.5) | {"cpu_ms_an_answer": 1e3 / per_s}


def turn(speeds: dict[str, float]) -> dict[str, Any]:
    return {
        name: {
            "start_s": 1.0,
            "memory_peak_mb": 500 / speed,
            "idle_cores": 0.0 if name == FOVEAL else 0.1,
            "answers_after_overload_s": 0.1,
            "leaving": {"share_of_work_done": 0.5},
            "closed": {"1024": row(speed, 0.3)},
            "open": {"1024": {"70": row(0.7 * speed, 0.2), "300": row(speed, 0.4, refused=round(20 * speed))}},
        }
        for name, speed in speeds.items()
    }


def document(turns: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "bundle": "edge",
        "cores": [0, 1],
        "size_px": 1024,
        "deadline_ms": 500.0,
        "kilobytes": {"1024": 200.0},
        "capacity_per_s": {"1024": 60.0},
        "alone_per_s": spread([80.0, 90.0]),
        **compared(turns, 1024),
        "turns": turns,
    }


def test_ratios_are_those_of_each_turn_and_the_best_peer_is_that_of_the_turn() -> None:
    turns = [turn({FOVEAL: 60, "ray": 20, "litserve": 30}), turn({FOVEAL: 30, "ray": 15, "litserve": 10})]
    over = compared(turns, 1024)["foveal_over"]["1024 px, 300 %, goodput_per_s"]
    assert over["ray"]["range"] == [2, 3]
    assert over["litserve"]["range"] == [2, 3]
    assert over[BEST] == {"median": 2, "quartiles": [2, 2], "range": [2, 2], "missing": 0}
    least = compared(turns, 1024)["foveal_over"]["memory_peak_mb"]
    assert least[BEST]["median"] == 0.5


def test_a_figure_that_is_missing_is_never_a_win() -> None:
    turns = [turn({FOVEAL: 60, "ray": 20}), turn({FOVEAL: 60, "ray": 20})]
    turns[0]["ray"]["start_s"] = None
    found = ratios(turns, lambda each: each["start_s"], more_is_better=False)
    assert (found["ray"]["missing"], found["ray"]["median"]) == (1, 1)
    assert ratios(turns, lambda each: each["idle_cores"] * 0, more_is_better=False)["ray"]["median"] is None
    assert spread([None, None]) == {"median": None, "missing": 2}


def test_what_is_said_under_overload_is_counted_over_all_turns() -> None:
    told = compared([turn({FOVEAL: 60, "ray": 20})] * 2, 1024)["overload"]["ray"]
    assert told["load_percent"] == 300
    assert told["refused"] == {"HTTP 503": {"share": 0.667, "p50_ms": 4.0, "p99_ms": 4.0}}
    assert told["share_that_left"] == 0


def test_wrong_answers_are_told() -> None:
    turns = [turn({FOVEAL: 60, "ray": 20})]
    bad = copy.deepcopy(turns)
    bad[0]["ray"]["open"]["1024"]["70"]["came"]["wrong"] = 3
    assert compared(turns, 1024)["wrong_answers"] == {FOVEAL: 0, "ray": 0}
    assert compared(bad, 1024)["wrong_answers"] == {FOVEAL: 0, "ray": 3}


def test_the_tables_and_the_plot_show_every_server(tmp_path: Path) -> None:
    found = document([turn({FOVEAL: 60, "ray": 20}), turn({FOVEAL: 58, "ray": 21})])
    tables = write_tables(found)
    assert "|  | foveal | ray | foveal over the best peer |" in tables
    assert "| goodput at 300 %, a second | 59 | 20.5 | 2.88 (2.76 to 3) |" in tables
    assert "| ray | HTTP 503 | 66.7% | 4 | 4 |" in tables
    write_plot(found, tmp_path / "a.svg")
    write_plot(found, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


class FailingBench:
    """Measures so many turns, and then a server does not start."""

    plan = Plan()
    photographs: ClassVar[dict[int, Any]] = {}

    def __init__(self, whole: int) -> None:
        self.whole = whole

    async def capacity(self) -> dict[int, float]:
        return {1024: 60.0}

    def alone_per_s(self) -> float:
        return 80.0

    async def turn(self, names: list[str], capacity_per_s: Any, number: int) -> dict[str, Any]:
        if number == self.whole:
            raise NotMeasured("ray ended by itself; its log says why")
        return turn({FOVEAL: 60, "ray": 20})


def test_turns_before_a_server_failed_are_kept_and_none_is_made_of_half(capsys: pytest.CaptureFixture[str]) -> None:
    found = asyncio.run(measured(FailingBench(2), [FOVEAL, "ray"], 3))  # type: ignore[arg-type]
    assert len(found["turns"]) == 2
    assert "ray ended by itself" in capsys.readouterr().err
    with pytest.raises(NotMeasured):
        asyncio.run(measured(FailingBench(0), [FOVEAL, "ray"], 3))  # type: ignore[arg-type]


def test_foveal_alone_is_shown_without_a_best_peer() -> None:
    assert "| none |" in write_tables(document([turn({FOVEAL: 60})]))


def test_the_engine_alone_is_measured_on_each_core_and_a_failure_is_told(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    photographs = [path.read_bytes() for path in sorted((ROOT / "examples" / "photographs").glob("*.jpg"))]
    assert alone_per_s(ROOT / "models" / "edge", [core], photographs, 0.2) > 1
    with pytest.raises(RuntimeError, match="a process failed"):
        alone_per_s(tmp_path, [core], photographs, 0.2)
