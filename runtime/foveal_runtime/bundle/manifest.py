"""The manifest: everything a bundle says of itself, as validated data. Reads and writes JSON; opens no graphs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from foveal_runtime.bundle.agreement import TIE_MARGIN
from foveal_runtime.bundle.calibration import Adapted, HeldOutPhotographs, Novelty, Occlusion, SubsetCalibration
from foveal_runtime.bundle.classes import check_classes
from foveal_runtime.photo.imaging import ImageSpec
from foveal_runtime.study.labels import SCHEME_CLASSES, Head
from foveal_runtime.study.notes import TextSpec
from foveal_runtime.study.record import FEATURES, FeatureStats
from foveal_runtime.study.study import Modality, Subset, subset_of

SCHEMA_VERSION = 1
"""Raised when an older runtime could misread a bundle; adding an optional field is no reason."""
ADAPTED_SCHEMA_VERSION = 2
"""Of bundles that a site adapted: a runtime that reads version 1 alone would leave the site's prior out."""


class Precision(StrEnum):
    """Numeric format of a bundle's weights."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Target(StrEnum):
    """What the graphs are written for."""

    ONNX = "onnx"
    """ONNX Runtime's CPU and CUDA providers."""
    TENSORRT = "tensorrt"


class Cpu(StrEnum):
    """On which x86-64 processors ONNX Runtime's CPU provider computes the graphs as they were judged."""

    ANY = "any"
    """All: no sum of two products of an INT8 graph leaves 16 bits."""
    VNNI = "vnni"
    """Those that add INT8 products in 32 bits; others saturate."""


class VariantName(StrEnum):
    """What a file of a graph computes in, where a bundle has several."""

    INT8 = "int8"
    """8-bit weights: for processors that add INT8 products in 32 bits."""
    INT8_REDUCED = "int8-reduced"
    """7-bit weights: right on every processor."""
    FP16 = "fp16"
    """Stored in FP16, computed in FP32."""
    FP32 = "fp32"
    FP16_TYPED = "fp16-typed"
    """Computed in FP16: for GPUs."""


FUSION = "fusion"
"""Name of the fusion graph; the encoders' graphs are named by their modality."""


Name = Annotated[str, Field(max_length=200)]
NO_CHECKSUM = "0" * 64
_MAX_DIM = 4000
"""What the archive can index."""
_MAX_TOKENS = 8192
_LEAST_STD, _LARGEST = 1e-6, 1e6


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Tensor(_Model):
    """One input or output of a graph."""

    name: str
    dtype: str
    """ONNX Runtime's spelling, `float32` or `int64` or `bool`."""
    shape: tuple[int | str, ...]
    """A string names a dynamic axis: `batch`, `tokens`."""


class ShapeRange(_Model):
    """Shapes of one input that an engine is built for (a TensorRT optimisation profile)."""

    min: tuple[PositiveInt, ...] = Field(min_length=1)
    opt: tuple[PositiveInt, ...] = Field(min_length=1)
    """What it is tuned for."""
    max: tuple[PositiveInt, ...] = Field(min_length=1)


class Graph(_Model):
    """One ONNX file."""

    file: str
    sha256: str
    bytes: NonNegativeInt
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    one_at_a_time: bool = False
    """Run one study a call and unpadded: true of dynamically quantised graphs, whose scales span the batch."""
    scheme: str = ""
    """How its numbers are stored and what was chosen for it by measuring, in words; plan.json has it as data."""
    shapes: dict[str, ShapeRange] = {}
    """By input: what a target with optimisation profiles is built for; empty for other targets."""
    cpu: Cpu | None = None
    """What its arithmetic is right for; None is what the bundle says (older ones)."""


class Variant(Graph):
    """Another file that may be served as one of the graphs: the same inputs and outputs in other arithmetic."""

    for_gpu: bool = False
    """Computes in FP16, which no kernel of a processor does."""
    parity: dict[str, Any] = {}
    """What the manifest's `parity` says, of the bundle with this file in place of the graph's own."""


class Evidence(StrEnum):
    """What held-out studies say of the reference's own grades of one head and modality subset."""

    PROVEN = "proven"
    """Enough studies, and the lower bounds of kappa and AUROC lie above chance."""
    CHANCE = "chance"
    """Enough studies, and they can't tell the reference from chance."""
    UNVERIFIED = "unverified"
    """Too few studies to say."""


class HeadEvidence(_Model):
    """Of one head, through one modality subset."""

    status: Evidence
    studies: int = 0
    """Labelled held-out studies."""
    positives: int = 0
    """Of them, those of grade 2 or worse."""
    kappa: float | None = None
    """Quadratic-weighted, of the PyTorch reference."""
    kappa_low: float | None = None
    """Lower end of the 95 % interval, by bootstrap over patients."""
    kappa_high: float | None = None
    """Upper end; None in older bundles."""
    auroc: float | None = None
    """Of grade 2 or worse."""
    auroc_low: float | None = None
    auroc_high: float | None = None


class TrainedOn(_Model):
    """The data a model was trained on, and so what it is meant for."""

    datasets: tuple[str, ...]
    """For example `idrid`."""
    studies: int
    """That were trained on."""
    patients: int = 0
    """They come from; 0 where the data set names none."""
    validation_studies: int = 0
    """Held out to fit temperatures and thresholds."""
    cameras: tuple[str, ...] = ()
    """Of the photographs; empty where the data set names none."""


class Tolerances(_Model):
    """What `foveal verify` and the start-up self-test accept as agreement with the PyTorch reference.

    What is None was not limited when the bundle was written (an older foveal), and is not judged.
    """

    min_cosine: float
    """Least cosine similarity of any embedding; one study in a hundred, at least one, may lie four times as far off."""
    max_abs_embedding: float
    """Largest absolute difference on unit vectors."""
    max_abs_probability: float
    """Largest absolute difference of any grade probability of a golden study."""
    icdr_flips: float
    """Largest share of studies whose ICDR grade changes where the reference was sure; one study is always allowed."""
    referable_flips: float
    """Largest share of studies whose referable decision changes, likewise."""
    sdrg_flips: float | None = None
    """Largest share of studies whose SDRG grade changes, likewise."""
    tie_margin: float = Field(default=TIE_MARGIN, ge=0, le=1)
    """Margin in probability up to which the reference was not sure (`foveal_runtime.bundle.agreement`)."""
    probability: float | None = None
    """Largest absolute difference of any calibrated probability of a held-out study."""
    referable_shift: float | None = None
    """Largest absolute mean change of the probability of referable DR over the held-out studies."""
    kappa_drop: float | None = None
    sensitivity_drop: float | None = None
    """Of the referral decision at the served operating point."""
    calibration_rise: float | None = None
    """Of the expected calibration error."""
    neighbour_overlap: float | None = None
    """Least mean overlap of the ten nearest neighbours, artefact's query against PyTorch's index."""
    neighbour_dependence: float = 1e-4
    """Largest difference on unit vectors between a study alone and the same study in any batch."""
    golden_cosine: float = Field(default_factory=lambda known: known["min_cosine"])
    """Least cosine similarity of any embedding of a golden study: what the artefact reached at export, and a little less.
    `min_cosine` in older bundles, which do not say."""


class Manifest(_Model):
    """A bundle's manifest.json."""

    schema_version: Literal[1, 2] = 1
    checksum: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 of manifest.json with zeros in place of these digits: a damaged disk can turn a threshold into another that is no
    less valid. Empty in older bundles."""
    foveal_version: Name
    profile: Name
    precision: Precision
    target: Target = Target.ONNX
    cpu: Cpu | None = None
    """What the arithmetic is right for; None in older bundles, see `runs_on`."""
    space_id: str = Field(pattern=r"^[A-Za-z0-9:_.-]{1,128}$")
    embedding_dim: int = Field(ge=1, le=_MAX_DIM)
    graphs: dict[str, Graph]
    """By name: `image`, `text`, `structured` (those that were trained) and `fusion`."""
    variants: dict[str, dict[Name, Variant]] = {}
    """By graph and `VariantName` (a newer foveal may have others): what may be served in place of the graph's own file."""
    files: dict[str, str]
    """SHA-256 of every other file of the bundle but manifest.json, by path relative to the bundle."""
    engines: dict[str, str] = {}
    """SHA-256 of every engine that lies beside the bundle (`--keep-engines`), by ARCHITECTURE/GRAPH.engine."""
    image: ImageSpec
    text: TextSpec
    features: FeatureStats
    heads: dict[Head, tuple[Name, ...]] = dict(SCHEME_CLASSES)
    """Classes of every head of the fusion graph, from the least to the most severe. Older bundles have the two schemes."""
    trained_heads: tuple[Head, ...]
    trained_subsets: tuple[str, ...]
    """By `subset_name`; another subset is answered with FAILED_PRECONDITION."""
    aligned: tuple[Modality, ...] = ()
    """Modalities whose single-modality vectors were trained to be comparable with each other by the contrastive losses."""
    calibration: dict[str, SubsetCalibration] = {}
    """By `subset_name`."""
    evidence: dict[str, dict[Head, HeadEvidence]] = {}
    """By `subset_name` and head: whether held-out studies show that the grades mean anything. Empty in older bundles."""
    adapted: Adapted | None = None
    """None unless a site fitted the calibration anew (`foveal adapt`)."""
    novelty: Novelty | None = None
    """None in older bundles, and where the training photographs were not at hand."""
    occlusion: Occlusion | None = None
    """None in older bundles, and where too few photographs of referable retinopathy were held out."""
    held_out: HeldOutPhotographs | None = None
    """None in older bundles, and where there were too few."""
    trained_on: TrainedOn | None = None
    """None in older bundles."""
    tolerances: Tolerances
    parity: dict[str, Any] = {}
    """Summary of parity.json: what was compared and how large the differences were."""
    made_with: dict[str, str] = {}
    """Versions of the libraries that wrote it."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        """Refuse numbers that would be divided by, or allocated, before anything computes with them."""
        if self.schema_version < ADAPTED_SCHEMA_VERSION and any(each.bias for each in self.calibration.values()):
            raise ValueError("a site's prior in a manifest of schema 1, which older runtimes would leave out")
        names = set(map(str, Modality))
        if FUSION not in self.graphs or not self.graphs.keys() - {FUSION} or not self.graphs.keys() <= {*names, FUSION}:
            raise ValueError("graphs are not fusion and at least one of image, text and structured")
        self._check_variants()
        outputs = {tensor.name: tensor.shape[-1] for tensor in self.graphs[FUSION].outputs if tensor.shape}
        if wrong := check_classes(self.heads, self.trained_heads, outputs, self.calibration):
            raise ValueError(wrong)
        trained = {part for subset in self.trained_subsets for part in subset.split("+")}
        if not trained <= names or not (trained | set(map(str, self.aligned))) <= self.graphs.keys():
            raise ValueError("a trained subset has a modality without a graph")
        numbers = (*self.image.mean, *self.image.std, *self.features.fill, *self.features.mean, *self.features.std)
        if not all(abs(each) <= _LARGEST for each in numbers):
            raise ValueError("means, deviations or fills are no usable numbers")
        if min((*self.image.std, *self.features.std), default=0.0) < _LEAST_STD:
            raise ValueError(f"a standard deviation is below {_LEAST_STD:g}")
        if {len(self.features.fill), len(self.features.mean), len(self.features.std)} != {len(FEATURES)}:
            raise ValueError(f"features are not {len(FEATURES)}")
        wanted = len(self.features.spec.features)
        structured = self.graphs.get(Modality.STRUCTURED)
        widths = [width for tensor in (structured.inputs if structured else ()) for width in tensor.shape[-1:]]
        if any(isinstance(width, int) and width != wanted for width in widths):
            raise ValueError(f"the structured graph does not take {wanted} features")
        if not (3 <= self.text.max_tokens <= _MAX_TOKENS and 1 <= self.text.kept_tokens <= _MAX_TOKENS):
            raise ValueError(f"text has no 3 to {_MAX_TOKENS} tokens")
        return self

    def _check_variants(self) -> None:
        """Refuse a file that can't stand in for its graph."""
        if not self.variants.keys() <= self.graphs.keys():
            raise ValueError("variants are of a graph that is not there")
        pairs = [(each, self.graphs[name]) for name, there in self.variants.items() for each in there.values()]
        if any((each.inputs, each.outputs) != (own.inputs, own.outputs) for each, own in pairs):
            raise ValueError("a variant has other inputs or outputs than its graph")

    def every_variant(self) -> dict[str, Variant]:
        """All variants, by GRAPH.VARIANT."""
        return {f"{graph}.{name}": each for graph, there in self.variants.items() for name, each in there.items()}

    @property
    def runs_on(self) -> Cpu:
        """Processors that the CPU provider is right on. An INT8 bundle that does not say has 8-bit weights, which saturate."""
        if self.cpu is not None:
            return self.cpu
        return Cpu.VNNI if self.precision is Precision.INT8 and self.target is Target.ONNX else Cpu.ANY

    @property
    def subsets(self) -> frozenset[Subset]:
        """The trained subsets as sets."""
        return frozenset(subset_of(name) for name in self.trained_subsets)

    def evidence_of(self, subset: str, head: Head) -> HeadEvidence:
        """What is known of one head through one modality subset; nothing known is unverified."""
        return self.evidence.get(subset, {}).get(head, HeadEvidence(status=Evidence.UNVERIFIED))

    def is_proven(self, subset: str, head: Head) -> bool:
        """Whether held-out studies tell the reference's grades of this head and subset from chance."""
        return self.evidence_of(subset, head).status is Evidence.PROVEN
