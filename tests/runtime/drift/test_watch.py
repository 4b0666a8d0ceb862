"""An alarm from its start to its end, and what is left of a reference by then."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foveal_runtime.drift.signals import BINS, NAMES, NOTHING, SIGNALS, steps
from foveal_runtime.drift.watch import LATEST, QUIET, Change, Watch, dense, sparse
from foveal_runtime.photo.quality import Quality

BRIGHTNESS = NAMES.index("brightness")


def photographs(rng: np.random.Generator, count: int, *, brightness: float = 0.0) -> list[np.ndarray]:
    """Of a camera whose brightness is so many deviations from usual."""
    made = rng.normal(250, 12, (count, len(NAMES)))
    made[:, BRIGHTNESS] += 12 * brightness
    return list(made.astype(np.int64))


def feed(watch: Watch, rng: np.random.Generator, made: list[np.ndarray]) -> list[tuple[int, Change]]:
    found = []
    for number, each in enumerate(made, 1):
        change = watch.add(each, rng.random(len(NAMES)), now=f"photograph {number}", photographs=number)
        if change is not None:
            found.append((number, change))
    return found


def test_an_alarm_names_its_signal_starts_once_and_ends_when_the_camera_is_mended() -> None:
    rng = np.random.default_rng(0)
    watch = Watch()
    assert feed(watch, rng, photographs(rng, 300)) == []
    (started,) = feed(watch, rng, photographs(rng, 500, brightness=-2.5))
    assert started[0] <= 200
    assert started[1].started
    assert watch.alarm is not None
    assert watch.alarm.signals == ["brightness"]
    assert watch.share_of_limit["brightness"] == 1.0
    (ended,) = feed(watch, rng, photographs(rng, 2 * QUIET))
    assert not ended[1].started
    assert QUIET // 2 < ended[0] <= 2 * QUIET
    assert watch.alarm is None
    (again,) = feed(watch, rng, photographs(rng, 200, brightness=-2.5))
    assert again[1].started, "the reference knows nothing of the photographs that raised the alarm"


def test_a_reference_grows_until_an_alarm_and_loses_the_latest_photographs_then() -> None:
    rng = np.random.default_rng(1)
    watch = Watch()
    feed(watch, rng, photographs(rng, 300))
    assert watch.photographs == 300
    feed(watch, rng, photographs(rng, 200, brightness=4))
    assert watch.alarm is not None
    assert 300 - 2 * LATEST <= watch.photographs <= 300
    kept = watch.photographs
    feed(watch, rng, photographs(rng, 50, brightness=4))
    assert watch.photographs == kept


def test_signals_that_are_not_compared_raise_nothing() -> None:
    rng = np.random.default_rng(2)
    watch = Watch([name for name in NAMES if name != "brightness"])
    assert feed(watch, rng, photographs(rng, 200) + photographs(rng, 300, brightness=5)) == []
    assert "brightness" not in watch.share_of_limit


def test_a_reference_may_begin_with_counts_and_is_left_as_it_was() -> None:
    rng = np.random.default_rng(3)
    base_SB = np.zeros((len(NAMES), BINS), np.int64)
    for each in photographs(rng, 200):
        base_SB[np.arange(len(NAMES)), each] += 1
    before_SB = base_SB.copy()
    ((number, change),) = feed(Watch(NAMES, base_SB), rng, photographs(rng, 150, brightness=3))
    assert change.started
    assert number <= 150
    np.testing.assert_array_equal(base_SB, before_SB)


def test_a_document_goes_on_where_it_was_made_and_holds_counts_alone() -> None:
    rng = np.random.default_rng(4)
    watch = Watch()
    feed(watch, rng, photographs(rng, 250) + photographs(rng, 30, brightness=-3))
    text = json.dumps(watch.document(), allow_nan=False)
    other = Watch()
    other.read(json.loads(text))
    assert json.dumps(other.document()) == text
    more = photographs(rng, 100, brightness=-3)
    found = [feed(each, np.random.default_rng(9), more) for each in (watch, other)]
    assert found[0] == found[1]
    assert [number for number, change in found[0] if change.started]


def test_what_means_something_else_from_now_on_is_counted_anew() -> None:
    rng = np.random.default_rng(5)
    watch = Watch()
    feed(watch, rng, photographs(rng, 200))
    watch.renew(["brightness"])
    assert "brightness" not in watch.document()["counts"]
    assert "colour" in watch.document()["counts"]
    assert feed(watch, rng, photographs(rng, 200, brightness=6)) == []


def test_counts_outside_of_a_grid_are_refused() -> None:
    counts = dense({"brightness": {"3": 2}, "a later signal": {"1": 5}})
    assert sparse(counts) == {"brightness": {"3": 2}}
    for row in ({str(BINS): 1}, {"3": -1}):
        with pytest.raises(ValueError, match="no bin"):
            dense({"brightness": row})


def test_bins_hold_what_lies_beyond_and_nothing_where_there_is_no_number() -> None:
    found = steps(quality=Quality.GRADABLE, appearance=(9.0, -9.0, float("nan"), 1.0, 0.5))
    named = dict(zip(NAMES, found.tolist(), strict=True))
    assert (named["brightness"], named["colour"], named["sharpness"]) == (BINS - 1, 0, NOTHING)
    assert (named["image"], named["grade"], named["record"], named["quality"]) == (NOTHING, NOTHING, NOTHING, 0)
    assert steps(quality=Quality.TOO_DARK, appearance=())[NAMES.index("quality")] == 1
    evenness = SIGNALS[NAMES.index("evenness")]
    assert evenness.value(evenness.bin(1.1)) == pytest.approx(1.1, abs=0.004)
