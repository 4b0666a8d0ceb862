"""A tiny untrained model: its figures mean nothing, their form does."""

from __future__ import annotations

import pytest

from foveal_runtime.study.notes import NoteTokeniser
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import profile
from foveal_train.model.weights import build_model


@pytest.fixture(scope="session")
def tiny() -> tuple[MultimodalModel, NoteTokeniser]:
    """Model and tokenizer."""
    config = profile("tiny")
    built = build_model(config, seed=0)
    return built.model.eval(), NoteTokeniser(built.tokenizer_json, config.text_spec)
