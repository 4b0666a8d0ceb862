"""The split that a recipe asks for."""

from __future__ import annotations

from foveal_train.data import Sample
from foveal_train.data.sample import Labels
from foveal_train.runs.samples import split_samples
from foveal_train.training.recipe_file import load_recipe


def test_trainings_of_several_seeds_share_a_split_where_the_split_has_a_seed_of_its_own() -> None:
    samples = [Sample(id=str(i), patient_id=f"p:{i}", image_path=None, labels=Labels(icdr=i % 5)) for i in range(100)]

    def split(*overrides: str) -> set[str]:
        return {sample.id for sample in split_samples(samples, load_recipe("tiny", overrides)).test}

    assert split("seed=1") != split("seed=2")
    assert split("seed=1", "split.seed=0") == split("seed=2", "split.seed=0") == split("seed=0") == split()
