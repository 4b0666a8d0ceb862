"""A run on disk: what training writes and evaluation and export read. Trains nothing.

Layout: run.json (everything but tensors), model.safetensors, tokenizer.json, split.json (sample ids of each split),
metrics.json, report.html, history.jsonl, checkpoints/. No pickle in what others read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.bundle.manifest import TrainedOn
from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import Head
from foveal_runtime.study.record import FeatureStats, RecordSpec
from foveal_runtime.study.study import Modality, Subset, subset_of
from foveal_train.model.model import HEAD_PREFIXES, MultimodalModel
from foveal_train.model.profile import EMBEDDING_DIM, ModelConfig
from foveal_train.model.weights import rebuild_model

RUN_FILE = "run.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
SPLIT_FILE = "split.json"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.jsonl"
REPORT_FILE = "report.html"
SCHEMA_VERSION = 1


class Origin(BaseModel):
    """Where a run comes from, for whoever asks later why two runs differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str = ""
    """As it was typed; empty for a run that no command made."""
    commit: str = ""
    """Of foveal, with `-dirty` where files were changed; `unknown` where nothing says."""
    environment: dict[str, str] = {}
    """Machine, threads, and the variables that change how fast or on what a run trains."""


class TaughtBy(BaseModel):
    """A teacher of a distilled run. Its folder is in the run's command; here stands what it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    """SHA-256 over its weights and its run.json."""
    space_id: str
    recipe: str
    side_px: int
    """Of the photographs that it was asked about."""
    agreement: float | None = None
    """Mean cosine of its joint vectors, turned onto the other teachers', to the vectors that were learnt; None without any."""


class Distillation(BaseModel):
    """How a run was distilled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teachers: tuple[TaughtBy, ...]
    unlabelled: tuple[str, ...] = ()
    """Data specs whose photographs were learnt from without labels."""
    unlabelled_studies: int = 0
    learnt_test: int = 0
    """Test studies that a teacher had learnt from: 0 where the run's figures are held out."""
    learnt_validation: int = 0
    """Validation studies that a teacher had learnt from."""


class RunInfo(BaseModel):
    """run.json: all that is known of a run but its tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    foveal_version: str
    recipe: dict[str, Any]
    """The whole recipe as it was run, overrides included."""
    model: ModelConfig
    data: tuple[str, ...]
    """Data specs (`kind:path`) as given."""
    data_sha256: str = ""
    """`data.fingerprint` of all of its studies, ids and patients included; empty in runs of an older foveal."""
    seed: int
    features: FeatureStats
    trained_heads: tuple[Head, ...]
    trained_subsets: tuple[str, ...]
    aligned: tuple[Modality, ...] = ()
    calibration: dict[str, SubsetCalibration] = {}
    space_id: str
    embedding_dim: int = EMBEDDING_DIM
    best_epoch: int = 0
    epochs: int = 0
    train_studies: int = 0
    validation_studies: int = 0
    trained_on: TrainedOn | None = None
    """None in runs of an older foveal; an export then takes it from the run's data, where they are still there."""
    made_with: dict[str, str] = {}
    origin: Origin | None = None
    """None in runs of an older foveal."""
    distillation: Distillation | None = None
    """None where there was no teacher."""

    @property
    def head_classes(self) -> dict[Head, tuple[str, ...]]:
        """Classes of every head of the model."""
        return self.model.head_classes

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """Trained modality subsets."""
        return tuple(subset_of(name) for name in self.trained_subsets)


def space_id(model: MultimodalModel, config: ModelConfig, features: FeatureStats, tokenizer_json: bytes) -> str:
    """SHA-256 over the FP32 encoder and fusion weights, preprocessing, tokenizer and feature statistics.

    Heads, decoders, temperature and precision are no part of it (DESIGN, section 1).
    """
    digest = hashlib.sha256()
    from dataclasses import asdict

    known = asdict(features)
    if known["spec"] == asdict(RecordSpec()):
        del known["spec"]  # as runs of an older foveal, which had no other way, have it
    for part in (asdict(config.image_spec), asdict(config.text_spec), known):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    digest.update(hashlib.sha256(tokenizer_json).digest())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(HEAD_PREFIXES) or name.endswith("num_batches_tracked"):
            continue
        digest.update(name.encode())
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_json(path: Path, document: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    except OSError:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


class Run:
    """An opened run."""

    def __init__(self, path: Path, info: RunInfo, model: MultimodalModel, tokenizer_json: bytes) -> None:
        self.path = path
        self.info = info
        self.model = model
        """In evaluation mode, FP32, on the CPU."""
        self.tokenizer_json = tokenizer_json

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Read a run that training finished.

        Raises:
            DataError: missing, unfinished, of another schema version, or with weights that do not fit or are not finite.
        """
        root = Path(path)
        info = read_info(root)
        try:
            state = load_file(root / WEIGHTS_FILE)
            tokenizer_json = (root / TOKENIZER_FILE).read_bytes()
        except (OSError, SafetensorError) as error:
            raise DataError(f"run {root} has no readable weights or tokenizer ({type(error).__name__}); train again") from None
        model = rebuild_model(info.model)
        try:
            model.load_state_dict(state)
        except RuntimeError:
            raise DataError(f"weights of run {root} do not fit its own configuration; train again") from None
        for name, tensor in state.items():
            if not torch.isfinite(tensor.float()).all():
                raise DataError(f"weights of run {root} hold NaN or infinity in {name}; train again")
        return cls(root, info, model.eval(), tokenizer_json)

    @property
    def split(self) -> dict[str, list[str]]:
        """Sample ids by split: `train`, `validation`, `test`."""
        loaded: dict[str, list[str]] = json.loads((self.path / SPLIT_FILE).read_text(encoding="utf-8"))
        return loaded

    @property
    def metrics(self) -> dict[str, Any]:
        """What training measured on held-out studies; empty where it measured nothing."""
        path = self.path / METRICS_FILE
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return loaded


def read_info(root: Path) -> RunInfo:
    """run.json alone.

    Raises:
        DataError: missing, unfinished, or of another schema version.
    """
    path = root / RUN_FILE
    if not path.is_file():
        what = "there is no such folder" if not root.is_dir() else f"{RUN_FILE} is missing, so training did not finish"
        raise DataError(f"no run at {root}: {what}; name a folder that `foveal train` wrote")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.get("schema_version")
    except (ValueError, AttributeError):
        raise DataError(f"{path} is damaged: no JSON object; train again") from None
    if version != SCHEMA_VERSION:
        raise DataError(f"run {root} has schema version {version!r}, this foveal reads {SCHEMA_VERSION}; train again with it")
    try:
        return RunInfo.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path} is damaged at {where!r}: {first['msg']}; train again") from None


def write_run(root: Path, info: RunInfo, model: MultimodalModel, tokenizer_json: bytes) -> None:
    """Write tokenizer, weights and, last, run.json: a run without run.json is unfinished.

    Raises:
        OSError: the disk is full or the folder can't be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / TOKENIZER_FILE).write_bytes(tokenizer_json)
    weights = root / (WEIGHTS_FILE + ".part")
    try:
        save_file({name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}, weights)
    except SafetensorError:
        weights.unlink(missing_ok=True)
        raise OSError(errno.ENOSPC, "the disk may be full", str(weights)) from None
    shutil.copymode(root / TOKENIZER_FILE, weights)  # `save_file` lets its owner alone read, whatever the umask
    weights.replace(root / WEIGHTS_FILE)
    write_json(root / RUN_FILE, info.model_dump(mode="json"))


def newest_run(folder: Path) -> Path:
    """The newest finished run under `folder` (`./runs` by default).

    Raises:
        DataError: there is none.
    """
    runs = [path.parent for path in folder.glob(f"*/{RUN_FILE}")] if folder.is_dir() else []
    if not runs:
        raise DataError(f"no finished run under {folder}; train one (foveal train --recipe edge --data SPEC) or name RUN")
    return max(runs, key=lambda path: (path / RUN_FILE).stat().st_mtime)
