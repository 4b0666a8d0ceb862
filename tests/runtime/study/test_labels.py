"""The decision rule: a grade of 2 or worse refers whatever the threshold, and nothing contradicts it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal_runtime.study.labels import FINDING, REFERABLE_GRADE, check_heads, referable_probability, referral_score, softmax


@given(st.lists(st.floats(-12, 12), min_size=5, max_size=5), st.floats(0, 1))
def test_a_referable_grade_is_always_referred_and_a_lower_one_by_its_probability(logits: list[float], threshold: float) -> None:
    probabilities = softmax(np.asarray(logits))
    decision = bool(referral_score(probabilities) >= threshold)
    by_grade = int(probabilities.argmax()) >= REFERABLE_GRADE
    by_probability = bool(referable_probability(probabilities) >= threshold)
    assert decision == (by_grade or by_probability)


def test_no_answer_of_two_thousand_contradicts_its_grade() -> None:
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(0, 2, (2000, 5)))
    for threshold in (0.05, 0.5, 0.652, 0.95, 1.0):
        refer = referral_score(probabilities) >= threshold
        assert refer[probabilities.argmax(-1) >= REFERABLE_GRADE].all()


@pytest.mark.parametrize("name", ["", "Haze", "2haze", "haze\n", "haze\nx", "a" * 33, "joint"])
def test_a_head_has_a_name_that_files_and_metrics_can_hold(name: str) -> None:
    assert check_heads({"haze": FINDING, "a" * 32: FINDING}) == ""
    assert "has no usable name" in check_heads({name: FINDING})
