"""What the engine is asked of one study, what it works on, and what it answers. Runs nothing.

Shape legend: see `foveal_runtime.engine.session`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from foveal_runtime.bundle.manifest import Manifest
from foveal_runtime.errors import UntrainedError
from foveal_runtime.photo.imaging import Float32, Frame
from foveal_runtime.photo.quality import Quality
from foveal_runtime.study.labels import Head
from foveal_runtime.study.notes import Int64
from foveal_runtime.study.study import Eye, Modality, Subset, subset_name


class VectorKind(StrEnum):
    """Which 256-d vector of a study (DESIGN, section 4, "Which vector")."""

    JOINT = "joint"
    """One pass over everything given."""
    IMAGE = "image"
    """CLS of a pass that sees the photograph alone."""
    TEXT = "text"
    STRUCTURED = "structured"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One study, ready for the graphs."""

    subset: Subset
    pixels_CHW: Float32 | None = field(default=None, repr=False)
    ids_T: Int64 | None = field(default=None, repr=False)
    features_F: Float32 | None = field(default=None, repr=False)
    imputed: tuple[str, ...] = ()
    """Record features that were missing and got the training split's median or mode."""
    truncated: bool = False
    """True when the note was longer than the text encoder reads."""
    quality: Quality | None = None
    """Verdict on the photograph; None without one."""
    frame: Frame | None = None
    """What of the photograph the model sees; None without one."""
    eye: Eye | None = None
    """As the request or a DICOM header says."""
    from_header: tuple[str, ...] = ()
    """Fields of the record that the request left out and a DICOM header says."""
    prepare_ms: float = 0.0
    """Time spent decoding, cropping and tokenising."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidenceMap:
    """Where in a photograph lies what the model took for referable retinopathy (`engine.occlusion`)."""

    cells_RR: Float32
    """By row and column of `frame`, 0 to 1: 1 where smoothing the neighbourhood away costs referral most, 0 where it costs
    nothing, and outside the field of view."""
    frame: Frame
    log_odds: float
    """What the largest cell stands for: the loss of log odds of a grade of 2 or worse, mean over the windows that hold it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the graphs say of one study; logits are raw, calibration is `grading`'s."""

    subset: Subset
    logits: dict[Head, Float32]
    """Five logits a trained head; empty when grades were not asked for."""
    vectors: dict[VectorKind, Float32]
    """Unit vectors of the kinds that were asked for and whose modality the study has."""
    imputed: tuple[str, ...]
    truncated: bool
    quality: Quality | None
    """Verdict on the photograph; None without one. The graphs run whatever it says: who reports grades, heeds it."""
    eye: Eye | None
    """As the request or a DICOM header says."""
    prepare_ms: float
    compute_ms: float
    """Time of the whole `run` this study was part of."""
    batch_size: int
    from_header: tuple[str, ...] = ()
    """Fields of the record that the request left out and a DICOM header says."""
    graph_ms: Mapping[str, float] = field(default_factory=dict)
    """Of that time, each graph's, by its name."""
    novelty: float | None = None
    """How far the photograph lies from those that the model was trained on (`engine.novelty`), in units of the bundle's limit;
    None without a photograph, or in bundles that don't know."""
    evidence: EvidenceMap | None = None
    """Where it was asked for."""

    @property
    def gradable(self) -> bool:
        """False when the study has a photograph that can't be graded."""
        return self.quality in (None, Quality.GRADABLE)


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted of one study."""

    kinds: frozenset[VectorKind] = frozenset()
    """Vectors to return. A kind whose modality the study lacks is left out."""
    grade: bool = True
    """Return the logits of the trained heads."""
    evidence: bool = False
    """Return an evidence map where there is a photograph: some fifty more passes of the image and fusion graphs."""


def check_evidence(manifest: Manifest) -> None:
    """Refuse evidence maps of a bundle whose maps were not shown to be faithful.

    Raises:
        UntrainedError: there was no such check, or they failed it.
    """
    if manifest.occlusion is None:
        raise UntrainedError(
            "this bundle's evidence maps were never checked; export it anew with held-out studies to have them"
        )
    if not manifest.occlusion.is_proven:
        raise UntrainedError("this bundle's evidence maps failed their check at export, so none is shown")


def check_trained(manifest: Manifest, subset: Subset, ask: Ask) -> None:
    """Refuse what was never trained, so that no number comes from an untrained part; needs no engine.

    Raises:
        UntrainedError: the subset, every head, or a vector kind was not trained.
    """
    name = subset_name(subset)
    if ask.grade and not manifest.trained_heads:
        raise UntrainedError("this bundle has no trained grading head; it embeds and searches, but does not grade")
    if name not in manifest.trained_subsets and (ask.grade or VectorKind.JOINT in ask.kinds):
        raise UntrainedError(
            f"the modality subset {name!r} was not trained; this bundle was trained for {', '.join(manifest.trained_subsets)}"
        )
    for kind in ask.kinds - {VectorKind.JOINT}:
        if Modality(kind.value) in subset and kind not in trained_kinds(manifest):
            raise UntrainedError(f"vectors of kind {kind.value!r} were not trained in this bundle; ask for 'joint'")


def trained_kinds(manifest: Manifest) -> frozenset[VectorKind]:
    """The vector kinds this bundle was trained for; joint is for the trained subsets alone."""
    single = {m for m in Modality if m in manifest.aligned or m.value in manifest.trained_subsets}
    return frozenset({VectorKind.JOINT, *(VectorKind(m.value) for m in single)})
