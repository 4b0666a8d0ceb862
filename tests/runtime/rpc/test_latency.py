"""How long the latest calls took: which are counted, and for how long."""

from __future__ import annotations

from foveal_runtime.rpc.latency import SPAN_S, RecentCalls


def test_percentiles_are_those_of_the_calls_of_the_span_alone() -> None:
    now = 0.0
    recent = RecentCalls(clock=lambda: now)
    assert (recent.latencies().calls, recent.latencies().p50_ms) == (0, None)
    recent.call_ended("Grade", "OK", 9.0)
    now = SPAN_S + 1
    for milliseconds in range(1, 101):
        recent.call_ended("Embed", "OK", milliseconds / 1e3)
    found = recent.latencies()
    assert found.calls == 100
    assert found.p50_ms == 50.0
    assert found.p99_ms == 99.0


def test_what_was_refused_and_what_neither_grades_nor_embeds_is_not_counted() -> None:
    recent = RecentCalls()
    recent.call_ended("Grade", "InputError", 1.0)
    recent.call_ended("GetStatus", "OK", 1.0)
    recent.call_ended("GradeStream", "OK", 100.0)
    assert recent.latencies().calls == 0
