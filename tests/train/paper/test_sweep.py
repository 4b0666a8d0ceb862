"""The sweep: every recipe of the paper runs end to end on small data, once, and the tables say what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clips import save_tiny_clip

from foveal_runtime.errors import CheckFailed, ConfigError
from foveal_runtime.photo.imaging import ImageSpec
from foveal_train.paper import making
from foveal_train.paper import sweep as sweeps
from foveal_train.paper.markdown import markdown
from foveal_train.paper.tables import PAPER_RECIPES, TABLES, fill
from foveal_train.runs.reporter import Silent
from foveal_train.training import decoded
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe

SMALL = ("profile=tiny", "image_spec.side_px=32", "optimiser.epochs=1", "optimiser.batch_size=16", "decoders.image_channels=16",
         "decoders.text_layers=1", "decoders.text_feedforward_dim=32")  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides that shrink every recipe of the paper."""
    return (*SMALL, f"clip.weights={save_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny')}")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Studies with notes and no records, as DeepEyeNet's are."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("deepeyenet")
    entries: list[dict[str, Any]] = []
    for number in range(6):
        path = Path("eyenet0420") / "train_set" / f"{number}.jpg"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (150 + 10 * number, 80, 40)).save(folder / path)
        entries.append({str(path): {"keywords": f"finding {number}", "clinical-description": f"Description {number}."}})
    for part, some in (("train", entries[:4]), ("valid", entries[4:5]), ("test", entries[5:])):
        (folder / f"DeepEyeNet_{part}.json").write_text(json.dumps(some))
    return f"deepeyenet:{folder}"


@pytest.fixture(scope="module")
def swept(
    tmp_path_factory: pytest.TempPathFactory, synth_spec: str, small: tuple[str, ...], elsewhere: str
) -> tuple[Path, dict[str, Any]]:
    """All recipes of the paper, swept."""
    out = tmp_path_factory.mktemp("sweep")
    recipes = sweeps.recipes_of([], small)
    return out, sweeps.sweep(recipes, [synth_spec], out, unseen=[elsewhere])


def _table(document: dict[str, Any], number: str) -> dict[str, Any]:
    return next(table for table in document["tables"] if table["number"] == number)


@pytest.mark.slow
def test_every_recipe_of_the_paper_runs_end_to_end(swept: tuple[Path, dict[str, Any]]) -> None:
    out, document = swept
    assert set(document["rows"]) == set(PAPER_RECIPES)
    assert not document["failed"]
    for name, row in document["rows"].items():
        assert row["grading"]["icdr"]["accuracy"]["value"] is not None, name
    assert (out / "rows" / "full" / "run" / "run.json").is_file()
    assert [len((out / f"table-{table.number}.svg").read_bytes()) > 1000 for table in TABLES] == [True] * 6


@pytest.mark.slow
def test_ours_stand_beside_the_papers_figures(swept: tuple[Path, dict[str, Any]]) -> None:
    out, document = swept
    text = (out / "tables.md").read_text()
    assert "| Ours, joint protocol | 99.94 |" in text
    assert "| SOTA (binary DR), as published | – | – | 98.70 | – |" in text
    assert "Profile tiny, where the paper's is paper" in text
    for line in _table(document, "I")["lines"]:
        assert line["ours"][0]["value"] is not None
    three = {line["label"]: line["ours"] for line in _table(document, "III")["lines"]}
    assert three["Image + structured"][0]["value"] is None  # without text there is no retrieval, in the paper as here
    assert three["Image + text"][0]["value"] is not None
    assert all(line["ours"][0]["value"] is not None for line in _table(document, "V")["lines"])
    cost = {line["label"]: line["ours"] for line in _table(document, "VI")["lines"]}
    assert all(ours[2]["value"] > 0 for ours in cost.values())
    assert cost["Vision-only"][0]["value"] < cost["Ours"][0]["value"]
    assert document["rows"]["vision-only"]["retrieval"] == {"independent": None, "joint": None}


@pytest.mark.slow
def test_every_table_says_what_its_numbers_mean(swept: tuple[Path, dict[str, Any]]) -> None:
    document = swept[1]
    said = {table["number"]: " ".join(table["caveats"]) for table in document["tables"]}
    for number in ("I", "III", "IV", "V"):
        assert "leaked into the text vector" in said[number]
    assert "Ceiling of a query that knows the note alone" in said["I"]
    for number in ("II", "III", "IV"):
        assert "always answering 0" in said[number]
    assert "reads part of its answer" in said["II"]
    assert "history.jsonl" in said["IV"]
    assert "imputed record of an unknown patient" in said["V"]
    assert "less than the sum of its two encoders" in said["VI"]


@pytest.mark.slow
def test_a_finished_row_is_not_run_again(
    swept: tuple[Path, dict[str, Any]], synth_spec: str, small: tuple[str, ...], elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, document = swept

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished row was run again")

    monkeypatch.setattr(sweeps, "new_row", never)
    monkeypatch.setattr(sweeps, "with_unseen", never)
    again = sweeps.sweep(sweeps.recipes_of([], small), [synth_spec], out, unseen=[elsewhere])
    assert again == document
    with pytest.raises(ConfigError, match="another recipe or data"):
        sweeps.sweep(sweeps.recipes_of(["paper/majority"], (*small, "seed=1")), [synth_spec], out, unseen=[elsewhere])


@pytest.mark.usefixtures("undrawn")
def test_the_papers_own_model_gets_its_row_once(
    tmp_path: Path, few_spec: str, small: tuple[str, ...], elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = sweeps.recipes_of(["paper/full"], small)
    document = sweeps.sweep(recipes, [few_spec], tmp_path, unseen=[elsewhere])
    assert document["rows"]["full"]["grading"]["icdr"]["accuracy"]["value"] is not None
    assert document["rows"]["full"]["cost"]["ms"] > 0
    assert "| Ours, joint protocol | 99.94 |" in (tmp_path / "tables.md").read_text()
    for made in ("new_row", "with_unseen"):
        monkeypatch.setattr(sweeps, made, lambda *_, **__: pytest.fail("a finished row was run again"))
    assert sweeps.sweep(recipes, [few_spec], tmp_path, unseen=[elsewhere]) == document
    with pytest.raises(ConfigError, match="another recipe or data"):
        sweeps.sweep(sweeps.recipes_of(["paper/full"], (*small, "seed=1")), [few_spec], tmp_path, unseen=[elsewhere])


def test_a_recipe_that_fails_leaves_the_others_their_tables(tmp_path: Path, few_spec: str) -> None:
    recipes = [load_recipe("paper/majority"), load_recipe("paper/clip-zero-shot", (f"clip.weights={tmp_path}",))]
    with pytest.raises(CheckFailed, match=r"1 of 2 recipes failed: clip-zero-shot: .*clip\.weights=PATH"):
        sweeps.sweep(recipes, [few_spec], tmp_path / "out")
    document = json.loads((tmp_path / "out" / "tables.json").read_text())
    assert list(document["rows"]) == ["majority"]
    assert not (tmp_path / "out" / "rows" / "clip-zero-shot" / "row.json").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_training_that_was_cut_off_goes_on(
    tmp_path: Path, few_spec: str, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: Recipe = load_recipe("paper/classification-only", (*small, "optimiser.epochs=2"))
    seen: list[int] = []

    class Cut:
        def stage(self, name: str) -> None: ...
        def progress(self, done: int, total: int) -> None: ...
        def epoch(self, row: dict[str, Any]) -> None: ...
        def remark(self, text: str) -> None: ...
        def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
            seen.append(epoch)
            if len(seen) > 1 and epoch == 2 and seen.count(2) == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweeps.sweep([recipe], [few_spec], tmp_path, reporter=Cut())
    assert seen[-1] == 2
    first = len(seen)
    document = sweeps.sweep([recipe], [few_spec], tmp_path, reporter=Cut())
    assert set(seen[first:]) == {2}  # the first epoch was not made again
    assert document["rows"]["classification-only"]["grading"]["icdr"]["n"]


def test_a_run_of_another_recipe_is_not_taken_for_this_ones(
    tmp_path: Path, synth_spec: str, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps.sweep([load_recipe("paper/classification-only", small)], [synth_spec], tmp_path)
    (tmp_path / "rows" / "classification-only" / "row.json").unlink()  # as a sweep that was stopped while it measured leaves it
    longer = load_recipe("paper/classification-only", (*small, "optimiser.epochs=3"))
    with pytest.raises(
        ConfigError, match=r"rows/classification-only \(optimiser.epochs is 1 there and 3 here\); name another folder"
    ):
        sweeps.sweep([longer], [synth_spec], tmp_path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(making.pipeline, "train", never)
    assert sweeps.sweep([load_recipe("paper/classification-only", small)], [synth_spec], tmp_path)["rows"]


def test_rows_of_data_that_have_changed_are_not_taken_for_theirs(tmp_path: Path, synth_spec: str) -> None:
    import shutil

    kind, _, folder = synth_spec.partition(":")
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    majority = [load_recipe("paper/majority")]
    sweeps.sweep(majority, [f"{kind}:{copy}"], tmp_path / "out")
    table = next(copy.glob("label*.csv"))
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n")  # the last photograph's row is gone
    with pytest.raises(ConfigError, match="its data are others"):
        sweeps.sweep(majority, [f"{kind}:{copy}"], tmp_path / "out")


def test_the_unseen_data_can_be_added_to_a_finished_sweep(
    tmp_path: Path, synth_spec: str, small: tuple[str, ...], elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["paper/full", "paper/clip-fine-tuned", "paper/classification-only"]
    first = sweeps.sweep(sweeps.recipes_of(names, small), [synth_spec], tmp_path)
    assert all(row["unseen"] is None for row in first["rows"].values())

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished row was trained again")

    monkeypatch.setattr(making.pipeline, "train", never)
    monkeypatch.setattr("foveal_train.paper.clip.fine_tune", never)
    measured: list[int] = []
    judge = making.evaluate_arrays
    monkeypatch.setattr(making, "evaluate_arrays", lambda *a, **k: (measured.append(len(a[1])), judge(*a, **k))[1])
    second = sweeps.sweep(sweeps.recipes_of(names, small), [synth_spec], tmp_path, unseen=[elsewhere])
    assert measured == [6]  # of the model's rows only the one that Table V shows
    assert second["rows"]["classification-only"] == first["rows"]["classification-only"]
    for name in ("full", "clip-fine-tuned"):
        assert second["rows"][name]["grading"] == first["rows"][name]["grading"]
    assert all(line["ours"][0]["value"] is not None for line in _table(second, "V")["lines"])
    third = sweeps.sweep(sweeps.recipes_of(names, small), [synth_spec], tmp_path)
    assert third["rows"] == second["rows"]


def test_a_row_for_which_memory_runs_out_leaves_the_others_their_tables(
    tmp_path: Path, synth_spec: str, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(making.pipeline, "train", full)
    recipes = sweeps.recipes_of(["paper/classification-only", "paper/majority"], small)
    with pytest.raises(CheckFailed, match="classification-only: memory ran out with batches of 16; sweep a recipe file"):
        sweeps.sweep(recipes, [synth_spec], tmp_path)
    assert list(json.loads((tmp_path / "tables.json").read_text())["rows"]) == ["majority"]


def test_photographs_are_decoded_once_for_all_recipes_and_the_plan_comes_first(
    tmp_path: Path, synth_spec: str, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    load = decoded.load_square

    def counted(data: bytes, spec: ImageSpec) -> Any:
        seen.append(data)
        return load(data, spec)

    class Listening(Silent):
        said: list[str] = []  # noqa: RUF012 - one listener

        def remark(self, text: str) -> None:
            assert not seen
            self.said.append(text)

    monkeypatch.setattr(decoded, "load_square", counted)
    lost = f"clip.weights={tmp_path / 'nowhere'}"
    names = ["paper/classification-only", "paper/image-structured", "paper/clip-zero-shot"]
    with pytest.raises(CheckFailed, match="clip-zero-shot: CLIP can't be had"):
        sweeps.sweep(sweeps.recipes_of(names, (*small, lost)), [synth_spec], tmp_path / "out", reporter=Listening())
    assert len(seen) == len(set(seen)) > 40
    assert not (tmp_path / "out" / sweeps.CACHE).exists()
    ours, structured, clip = Listening.said
    assert ours.startswith("classification-only: trains, at most 1 epochs of ")
    assert "min, " in ours
    assert "M parameters" in ours
    assert "LACKS" not in ours + structured
    assert f"LACKS CLIP: {tmp_path / 'nowhere'} holds no config.json" in clip


def test_recipes_are_named_by_pattern_path_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {recipe.name for recipe in sweeps.recipes_of(["recipes/paper/*.toml"], ())} == set(PAPER_RECIPES)
    (tmp_path / "mine.toml").write_text('profile = "tiny"')
    assert [recipe.name for recipe in sweeps.recipes_of(["mine.toml", "paper/full"], ())] == ["mine", "full"]
    with pytest.raises(ConfigError, match="no recipe 'nothing/"):
        sweeps.recipes_of(["nothing/*.toml"], ())
    with pytest.raises(ConfigError, match="two recipes are called full"):
        sweeps.recipes_of(["paper/full", "recipes/paper/*.toml"], ())


def test_a_recipe_beside_the_papers_gets_lines_of_its_own() -> None:
    ks = ["1", "5", "10"]
    figure = {"value": 0.5, "interval": [0.4, 0.6], "n": 9}
    strict = {"recall": dict.fromkeys(ks, figure), "ceiling": dict.fromkeys(ks, 0.6)}
    row = {
        "retrieval": {"independent": {**strict, "queries": 9, "gallery": 9, "distinct_notes": 5}, "joint": None},
        "grading": {"icdr": {"accuracy": figure, "balanced_accuracy": figure, "kappa": figure}},
        "unseen": None,
        "cost": {"parameters": 28e6, "trained": 28e6, "ms": 12.0, "device": "CPU", "gpu_bytes": None},
        "notes": [],
    }
    tables = fill({"edge": row})
    assert tables[0]["lines"][-1]["label"] == "edge, independent protocol"
    assert tables[0]["lines"][-1]["ours"][0] == {"value": 50.0, "interval": [40.0, 60.0]}
    assert [line["label"] for line in tables[3]["lines"]] == [line.label for line in TABLES[3].lines]
    text = markdown({"data": ["brset:x"], "remark": "", "tables": tables})
    assert "| edge, independent protocol | – | 50.00 [40.00, 60.00] |" in text
    assert "| – | 28 |" in text
