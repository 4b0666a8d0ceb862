"""run.json of a model that was just fitted. Fits its calibration, and nothing else."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

import foveal_runtime
from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import subset_name
from foveal_train.data import Split
from foveal_train.model.weights import BuiltModel
from foveal_train.runs import calibration
from foveal_train.runs.prepared import Prepared, aligned_modalities, trained_subsets
from foveal_train.runs.provenance import trained_on
from foveal_train.runs.run import RunInfo, space_id
from foveal_train.training.recipe import Recipe, recipe_document
from foveal_train.training.trainer import Fitted

_LIBRARIES = ("torch", "timm", "transformers", "accelerate", "numpy", "pillow", "tokenizers")


def describe(
    built: BuiltModel,
    recipe: Recipe,
    specs: Sequence[str],
    split: Split,
    data: Prepared,
    heads: tuple[Head, ...],
    fitted: Fitted,
) -> RunInfo:
    """run.json of a model that was just fitted, calibration included."""
    subsets = trained_subsets(data.train, recipe)
    return RunInfo(
        foveal_version=foveal_runtime.__version__,
        recipe=recipe_document(recipe),
        model=built.config,
        data=tuple(specs),
        seed=recipe.seed,
        features=data.features,
        trained_heads=heads,
        trained_subsets=tuple(subset_name(subset) for subset in subsets),
        aligned=aligned_modalities(data.train, recipe),
        calibration=calibration.fit(built.model, data.validation, heads, subsets) if len(data.validation) else {},
        space_id=space_id(built.model, built.config, data.features, built.tokenizer_json),
        best_epoch=fitted.best_epoch,
        epochs=fitted.epochs,
        train_studies=len(data.train),
        validation_studies=len(data.validation),
        trained_on=trained_on(specs, split.train, len(data.validation)),
        made_with={name: importlib.metadata.version(name) for name in _LIBRARIES},
    )
