"""The nested study's judgement: what a factor was worth, which level is chosen, and that nothing is judged twice."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "idrid_nested", raising=False)
    import idrid_nested

    return idrid_nested


def _answers(nested: ModuleType, wrong: float, seed: int, ids: range = range(80)) -> object:
    """Answers to the same labels, a share of them one grade off."""
    labels = np.asarray(ids) % 5
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < wrong, (labels + 2) % 5, labels)
    logits = 4.0 * np.eye(5)[said]
    names = tuple(map(str, ids))
    return nested.Answers(ids=names, labels_N=labels, plain_NG=logits, camera_NG=logits)


def _trials(nested: ModuleType) -> dict[tuple[int, ...], object]:
    """The second factor alone helps."""
    return {levels: _answers(nested, 0.1 if levels[1] else 0.5, seed) for seed, levels in enumerate(nested.TRIALS)}


def test_the_factor_that_helps_is_worth_something_and_the_others_are_not(nested: ModuleType) -> None:
    gains = [nested.factor_effect(_trials(nested), factor, 0)["plain_kappa"] for factor in range(3)]
    assert gains[1]["interval"][0] > 0.1
    for other in (gains[0], gains[2]):
        assert abs(other["value"]) < gains[1]["value"] / 3


def test_every_factor_is_seen_twice_at_each_level(nested: ModuleType) -> None:
    assert [sum(levels[i] for levels in nested.TRIALS) for i in range(3)] == [2, 2, 2]
    assert len(set(nested.TRIALS)) == len(nested.TRIALS)


def test_inner_folds_choose_the_level_that_helps(nested: ModuleType, tmp_path: Path) -> None:
    for levels, answers in _trials(nested).items():
        answers.save(nested.trial_path(tmp_path, 3, levels))  # type: ignore[attr-defined]
    assert nested.choose(tmp_path, 3)[1] == 1


def test_a_photograph_that_is_held_out_twice_is_refused(nested: ModuleType) -> None:
    with pytest.raises(AssertionError, match="held out twice"):
        nested.Answers.together([_answers(nested, 0.1, 0), _answers(nested, 0.1, 1, range(79, 90))])


def test_simulated_cameras_change_a_photograph_and_its_noise_is_seeded(nested: ModuleType) -> None:
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    for camera in nested.CAMERAS:
        seen = nested.through_camera(picture, camera, seed=1)
        assert seen.mode == "RGB"
        assert seen.tobytes() != picture.tobytes()
        assert seen.tobytes() == nested.through_camera(picture, camera, seed=1).tobytes()
