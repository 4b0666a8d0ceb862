"""The nested study's judgement: what a factor was worth, which level is chosen, and that nothing is judged twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def nested(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("idrid_nested")


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


def test_simulated_cameras_change_a_photograph_and_its_noise_is_seeded(program: Callable[[str], ModuleType]) -> None:
    from PIL import Image

    cameras = program("cameras")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    for camera in cameras.CAMERAS:
        seen = cameras.through_camera(picture, camera, seed=1)
        assert seen.mode == "RGB"
        assert seen.tobytes() != picture.tobytes()
        assert seen.tobytes() == cameras.through_camera(picture, camera, seed=1).tobytes()


def test_folds_keep_a_likely_eye_on_one_side(nested: ModuleType) -> None:
    from foveal_train.data import Sample
    from foveal_train.data.sample import Labels

    samples = [Sample(id=str(i), patient_id=str(i), image_path=None, labels=Labels(icdr=i % 5)) for i in range(100)]
    groups = {str(i): str(i - i % 2) for i in range(100)}
    apart = nested.folds_of(samples, 0)
    together = nested.folds_of(samples, 0, groups)

    def split_pairs(folds: list[tuple[Sample, ...]]) -> int:
        fold_of = {sample.id: k for k, fold in enumerate(folds) for sample in fold}
        return sum(fold_of[str(i)] != fold_of[str(i + 1)] for i in range(0, 100, 2))

    assert split_pairs(apart) > 20
    assert split_pairs(together) == 0
    assert sorted(s.id for fold in together for s in fold) == sorted(groups)


def test_an_interval_over_seeds_holds_the_variance_of_training(nested: ModuleType) -> None:
    from held_out import judged_over_seeds

    good, bad = _answers(nested, 0.05, 0), _answers(nested, 0.6, 1)
    alone = judged_over_seeds({0: good}, None, 0)["plain"]["kappa"]
    both = judged_over_seeds({0: good, 1: bad}, None, 0)["plain"]["kappa"]
    assert both["value"] == pytest.approx(np.mean(both["by_seed"]))
    assert both["interval"][0] < both["by_seed"][1] < both["by_seed"][0] < both["interval"][1] + 0.05
    assert both["interval"][1] - both["interval"][0] > 2 * (alone["interval"][1] - alone["interval"][0])


def test_a_photograph_with_its_partner_in_training_is_left_out(nested: ModuleType) -> None:
    from held_honestly import partnered

    fold_of = {"a": 0, "b": 1, "c": 0, "d": 0}
    trained = {0: frozenset({"b"}), 1: frozenset({"a", "c"})}
    assert partnered([("a", "b"), ("c", "d")], fold_of, trained) == {"a", "b"}  # c and d are held out together


def test_one_eye_is_found_again_turned_and_shifted_and_two_eyes_are_not_alike(nested: ModuleType, idrid: Path) -> None:
    import same_eye
    from foveal_train.data import load

    samples = list(load(f"idrid:{idrid}").samples)
    by_id = {sample.id: sample for sample in samples}
    few = [*samples[:12], by_id["IDRiD_013"], by_id["IDRiD_397"]]
    few = list({sample.id: sample for sample in few}.values())
    found = same_eye.likely_groups(few)
    groups = found["groups"]
    assert groups["IDRiD_013"] == groups["IDRiD_397"]
    assert len(set(groups.values())) == len(few) - 1
    assert (same_eye.found_again(samples, 8, seed=0) >= same_eye.THRESHOLD).mean() >= 0.75


def test_groups_join_what_is_joined(nested: ModuleType) -> None:
    from same_eye import Pair, groups_of

    pairs = [Pair(one=3, other=4, likeness=0.9), Pair(one=0, other=4, likeness=0.8)]
    assert groups_of(6, pairs) == [0, 1, 2, 0, 0, 5]
