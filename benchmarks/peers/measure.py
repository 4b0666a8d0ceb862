"""What one server does, from its start to callers that go away. Compares nothing."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peers.load import Sends, call, closed_loop, leave, open_loop, until
from peers.photographs import Photographs
from peers.senders import SENDERS
from peers.servers import Server
from peers.tally import Came, arrivals, summary

_START_S = 240.0
_SETTLE_S, _STEP_S, _QUIET_CORES = 6.0, 0.3, 0.2
"""A server has settled when it takes no more of the cores than this above what it takes when idle."""
CALM_PERCENT = 70
"""Up to this load callers wait as long as it takes, since the tail is what is asked; above it they leave at the deadline."""


class NotMeasured(Exception):
    """A server did not start, or stopped answering."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is asked of every server alike."""

    size_px: int = 1024
    """Longer side of the photographs that all loads are made of."""
    other_sizes_px: tuple[int, ...] = (512, 2048)
    """Of those that some are made of."""
    loads: tuple[int, ...] = (20, 50, 70, 100, 150, 200, 300)
    """Percent of foveal's capacity."""
    other_loads: tuple[int, ...] = (70, 200)
    """Those of the other sizes."""
    seconds: float = 4.5
    """Of a load."""
    tail_seconds: float = 12.0
    """Of the one of 70 %, whose 99th percentile needs more calls."""
    other_seconds: float = 3.0
    """Of one of another size, and of its closed loop."""
    callers: int = 12
    """In a closed loop: enough for every worker's batch and half of the next, few enough to be answered before the deadline,
    after which some servers give up by themselves."""
    deadline_s: float = 0.5
    """From the planned arrival on, within which an answer is good."""
    calm_s: float = 10.0
    """Patience of callers that wait for their answer."""
    leavers: int = 32
    """Callers that go away."""
    stay_s: float = 0.15
    """After which they do."""

    def loads_of(self, size_px: int) -> dict[int, float]:
        """Loads of a size, and how long each lasts."""
        if size_px != self.size_px:
            return dict.fromkeys(self.other_loads, self.other_seconds)
        return {load: self.tail_seconds if load == CALM_PERCENT else self.seconds for load in self.loads}


class Measurement:
    """One server that runs, and its callers."""

    def __init__(self, server: Server, photographs: Mapping[int, Photographs], plan: Plan) -> None:
        self._server, self._photographs, self._plan = server, photographs, plan
        self._idle_cores = 0.0
        self._peak_mb = 0.0

    async def capacity(self) -> dict[int, float]:
        """Right answers a second of a closed loop, by size."""
        found = {}
        await self._first_right()
        for size_px in self._photographs:
            await self._closed(size_px, self._plan.seconds / 3)  # the first calls are slower
            found[size_px] = float((await self._closed(size_px, self._plan.seconds))["goodput_per_s"])
        return found

    async def whole(self, capacity_per_s: Mapping[int, float], seed: int) -> dict[str, Any]:
        """Everything.

        Args:
            capacity_per_s: foveal's, by size: what the loads are percents of.
            seed: of the arrivals.
        """
        plan, server = self._plan, self._server
        found: dict[str, Any] = {"start_s": round(await self._first_right(), 2), "memory_at_start_mb": server.pss_mb()}
        await self._closed(plan.size_px, plan.seconds / 3)
        await asyncio.sleep(_STEP_S)
        found["idle_cores"] = self._idle_cores = await self._cores(2.0)
        found["closed"], found["open"] = {}, {}
        for size_px in self._photographs:
            found["closed"][str(size_px)] = await self._closed(
                size_px, plan.seconds if size_px == plan.size_px else plan.other_seconds
            )
            opened = found["open"][str(size_px)] = {}
            for load, seconds in plan.loads_of(size_px).items():
                opened[str(load)] = await self._open(size_px, load, capacity_per_s[size_px] * load / 100, seconds, seed)
        started = time.perf_counter()
        await self._until_right(_START_S)
        found["answers_after_overload_s"] = round(time.perf_counter() - started, 2)
        found["leaving"] = await self._leaving(found["closed"][str(plan.size_px)]["cpu_ms_an_answer"])
        found["memory_peak_mb"] = self._peak_mb
        return found

    async def _first_right(self) -> float:
        """Seconds from the start of the process to the first right answer."""
        host, port = "127.0.0.1", self._server.settings.port

        async def listens() -> bool:
            if self._server.process.poll() is not None:
                raise NotMeasured(f"{self._server.name} ended by itself; its log says why")
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                return False
            writer.close()
            return True

        try:
            await until(listens, _START_S, 0.02)
        except TimeoutError:
            raise NotMeasured(f"{self._server.name} does not listen after {_START_S:g} s") from None
        await self._until_right(_START_S)
        return time.perf_counter() - self._server.started_s

    async def _until_right(self, seconds: float) -> None:
        photographs, clock, sender = self._photographs[self._plan.size_px], asyncio.get_running_loop().time, self._sender()
        wrong = 0

        async def answers() -> bool:
            nonlocal wrong
            made = await call(sender, photographs.right, 0, clock(), 20.0)
            wrong += made.came is Came.WRONG
            if wrong > 2:
                raise SystemExit(f"{self._server.name} answers otherwise than foveal's engine, so it is not measured")
            return made.came is Came.RIGHT

        try:
            await until(answers, seconds)
        except TimeoutError:
            raise NotMeasured(f"{self._server.name} gives no right answer within {seconds:g} s") from None
        finally:
            await sender.close()

    def _sender(self, size_px: int | None = None) -> Sends:
        photographs = self._photographs[size_px or self._plan.size_px]
        return SENDERS[self._server.name](self._server.address, photographs.files)

    async def _closed(self, size_px: int, seconds: float) -> dict[str, Any]:
        photographs, plan, sender = self._photographs[size_px], self._plan, self._sender(size_px)
        await self._settle()
        before = self._server.cpu_s()
        calls, took_s = await closed_loop(
            sender, photographs.right, len(photographs.files), callers=plan.callers, seconds=seconds, patience_s=plan.calm_s
        )
        used = self._server.cpu_s() - before
        await sender.close()
        found = summary(calls, took_s, math.inf)
        return found | self._cost(used, found["came"][Came.RIGHT])

    async def _open(self, size_px: int, load: int, rate_per_s: float, seconds: float, seed: int) -> dict[str, Any]:
        photographs, plan, sender = self._photographs[size_px], self._plan, self._sender(size_px)
        moments = arrivals(rate_per_s, seconds, seed)
        await self._settle()
        patience_s = plan.calm_s if load <= CALM_PERCENT else plan.deadline_s
        before, own_before = self._server.cpu_s(), time.process_time()
        calls = await open_loop(sender, photographs.right, len(photographs.files), moments, patience_s)
        used, own = self._server.cpu_s() - before, time.process_time() - own_before
        await sender.close()
        found = summary(calls, seconds, plan.deadline_s)
        return found | self._cost(used, found["came"][Came.RIGHT]) | {"callers_cpu_ms_a_call": _each(own, len(calls))}

    def _cost(self, used_s: float, right: int) -> dict[str, float | None]:
        self._peak_mb = max(self._peak_mb, self._server.pss_mb())
        return {"cpu_s": round(used_s, 2), "cpu_ms_an_answer": _each(used_s, right)}

    async def _cores(self, seconds: float) -> float:
        """Of the cores, how many the server takes now."""
        before, started = self._server.cpu_s(), time.perf_counter()
        await asyncio.sleep(seconds)
        return round((self._server.cpu_s() - before) / (time.perf_counter() - started), 3)

    async def _settle(self) -> float:
        """Wait until the server is done with what callers have left; seconds that it took."""
        started = time.perf_counter()
        while (spent := time.perf_counter() - started) < _SETTLE_S:
            if await self._cores(_STEP_S) < self._idle_cores + _QUIET_CORES:
                return spent
        return spent

    async def _leaving(self, cpu_ms_an_answer: float | None) -> dict[str, Any]:
        """What is still done for callers that have gone."""
        plan, sender = self._plan, self._sender()
        await self._settle()
        started, before = time.perf_counter(), self._server.cpu_s()
        await leave(sender, len(self._photographs[plan.size_px].files), plan.leavers, plan.stay_s)
        left_s, at_leaving = time.perf_counter(), self._server.cpu_s()
        busy_s = await self._settle()
        over_s, after = time.perf_counter(), self._server.cpu_s()
        await sender.close()
        idle = self._idle_cores
        whole_s = plan.leavers * cpu_ms_an_answer / 1e3 if cpu_ms_an_answer else None
        used_s = after - before - idle * (over_s - started)
        return {
            "callers": plan.leavers,
            "cpu_s_after_they_left": round(max(0.0, after - at_leaving - idle * (over_s - left_s)), 2),
            "busy_after_they_left_s": round(busy_s, 1),
            "share_of_work_done": round(max(0.0, used_s) / whole_s, 2) if whole_s else None,
        }


def _each(seconds: float, count: int) -> float | None:
    return round(seconds * 1e3 / count, 2) if count else None
