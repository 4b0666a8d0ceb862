"""Fits of the growth benchmark, and the sizing table that is computed from one."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import grpc
import numpy as np
import pytest

from foveal_runtime.errors import OverloadedError
from foveal_runtime.rpc.status import status_of


@pytest.fixture
def curves(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("curves")


def noisy(values: np.ndarray) -> list[float]:
    return list(values * (1 + 0.01 * np.random.default_rng(0).standard_normal(len(values))))


def test_what_is_paid_once_and_what_each_costs_is_found_although_points_differ_a_thousandfold(curves: ModuleType) -> None:
    x = np.array([1, 10, 100, 1000, 10_000])
    fit = curves.linear(x, noisy(2.0 + 0.5 * x))
    assert fit.parameters["a"] == pytest.approx(2.0, rel=0.05)
    assert fit.parameters["b"] == pytest.approx(0.5, rel=0.05)
    assert fit.rms < 0.02


def test_a_line_pays_nothing_negative_for_the_first(curves: ModuleType) -> None:
    fit = curves.linear([1, 2, 4], [0.5, 2, 4.5])
    assert fit.parameters["a"] == 0.0
    assert fit.parameters["b"] > 0


def test_the_slope_in_logarithms_is_found_and_the_closer_form_is_taken(curves: ModuleType) -> None:
    x = np.array([1e3, 1e4, 1e5, 1e6])
    fit = curves.better(x, noisy(0.2 * x**0.25))
    assert fit.form == "a x^slope"
    assert fit.parameters["slope"] == pytest.approx(0.25, abs=0.01)
    assert curves.better(x, noisy(3 + 1e-4 * x)).form == "a + b x"


def test_rates_level_off_at_the_capacity_and_those_that_do_not_are_refused(curves: ModuleType) -> None:
    x = np.array([1, 2, 4, 8, 16, 64, 256])
    fit = curves.saturating(x, noisy(65 * x / (x + 3)))
    assert fit.parameters["most"] == pytest.approx(65, rel=0.05)
    assert fit.parameters["half"] == pytest.approx(3, rel=0.2)
    with pytest.raises(ValueError, match="do not level off"):
        curves.saturating([1, 2, 4], [1, 2.5, 6])


@pytest.mark.parametrize("serial", [0.0, 0.05, 0.3])
def test_the_serial_share_is_found(curves: ModuleType, serial: float) -> None:
    cores = np.array([1, 2, 4, 8])
    fit = curves.amdahl(cores, 30 * cores / (1 + serial * (cores - 1)))
    assert fit.parameters["one"] == pytest.approx(30, rel=1e-6)
    assert fit.parameters["serial"] == pytest.approx(serial, abs=1e-6)


def test_rates_that_grow_faster_than_cores_give_no_negative_share(curves: ModuleType) -> None:
    assert curves.amdahl([1, 2], [30, 63]).parameters["serial"] == 0.0
    assert curves.amdahl([1], [30]).at(4) == 120


def test_residuals_are_relative_to_what_was_measured(curves: ModuleType) -> None:
    fit = curves.amdahl([1, 2], [10, 25])
    assert fit.residuals == pytest.approx([(fit.at(1) - 10) / 10, (fit.at(2) - 25) / 25])


def test_the_sizing_table_marks_what_was_measured_and_computes_the_rest(curves: ModuleType) -> None:
    sizing = importlib.import_module("sizing")
    measured = {1: 30.0, 2: 54.0}
    rows = {row["cores"]: row for row in sizing.sizing_table(measured, curves.amdahl([1, 2], [30.0, 54.0]), 4)}
    assert {cores for cores, row in rows.items() if row["source"] == "measured"} == {1, 2}
    assert rows[2]["screenings_per_hour"] == 54 * 3600 / 4
    assert rows[2]["at_70_percent_load"] == round(0.7 * 54 * 3600 / 4)
    serial = 2 * 30 / 54 - 1
    assert rows[8]["photographs_per_s"] == pytest.approx(30 * 8 / (1 + serial * 7), abs=0.1)
    assert all(row["screenings_per_hour"] <= row["linear_bound_per_hour"] for row in rows.values())


def test_a_picture_is_the_same_bytes_again(curves: ModuleType, tmp_path: Path) -> None:
    x, y = [1, 10, 100], [1.0, 9.0, 110.0]
    for name in ("one.svg", "two.svg"):
        curves.draw(tmp_path / name, {"ms": (x, y, curves.better(x, y))}, x="vectors", y="ms")
    text = (tmp_path / "one.svg").read_text()
    assert text.startswith("<?xml")
    assert text == (tmp_path / "two.svg").read_text()


async def test_an_answer_after_the_end_counts_nowhere(curves: ModuleType) -> None:
    sizing = importlib.import_module("sizing")

    class Slow:
        single = (b"",)

        def __init__(self, answers: int) -> None:
            self.left = answers

        async def grade(self, request: bytes, timeout: float) -> None:
            self.left -= 1
            if self.left < 0:
                await asyncio.sleep(0.6)

    found = await sizing.closed(Slow(40), 20, 0.5)
    assert (found["per_s"], found["refused"]) == (80.0, 0)
    assert (await sizing.closed(Slow(0), 20, 0.5))["p50_ms"] is None


async def test_who_is_refused_comes_back_when_the_server_said(curves: ModuleType) -> None:
    sizing = importlib.import_module("sizing")

    class Full:
        single = (b"",)
        calls = 0

        async def grade(self, request: bytes, timeout: float) -> None:
            self.calls += 1
            raise refusal(retry_after_s=0.4)

    caller = Full()
    found = await sizing.closed(caller, 3, 0.5)
    assert caller.calls == found["refused"] <= 6, "at once, and 0.4 to 0.5 s later; every 0.1 s it was"


def refusal(retry_after_s: float) -> grpc.aio.AioRpcError:
    """What a full server sends."""
    rich = status_of(OverloadedError("full; send again later", retry_after_s=retry_after_s))
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", rich.SerializeToString()))
    return grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), trailers, details=rich.message)
