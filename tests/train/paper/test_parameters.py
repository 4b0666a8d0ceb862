"""Parameter counts: ours as counted, the paper's as stated."""

import torch
from transformers import CLIPConfig, CLIPModel

from foveal_train.paper.parameters import PAPER_PARAMETERS, count, count_recipe
from foveal_train.training.recipe_file import load_recipe


def test_the_papers_model_as_described_has_more_parameters_than_the_paper_states() -> None:
    counted = count_recipe(load_recipe("base"))
    millions = {name: (round(c.total / 1e6, 1), round(c.trained / 1e6, 1)) for name, c in counted.parts.items()}
    assert millions == {
        "image": (86.0, 14.4),
        "text": (107.9, 14.4),
        "structured": (0.0, 0.0),
        "fusion": (8.1, 8.1),
        "decoders": (13.5, 13.5),
    }
    assert counted.parts["image"].total + counted.parts["text"].total > PAPER_PARAMETERS
    assert str(counted) == "202.0M parameters, 36.9M of them trained, and 13.5M of decoders while it trains"


def test_a_recipe_without_decoders_counts_none() -> None:
    counted = count_recipe(load_recipe("tiny"))
    assert counted.parts["decoders"].total == 0
    assert "decoders" not in str(counted)


def test_the_papers_clip_has_151_million_parameters() -> None:
    with torch.device("meta"):
        clip = CLIPModel(CLIPConfig())  # transformers' defaults are ViT-B/32
    assert round(count(clip).total / 1e6) == 151
