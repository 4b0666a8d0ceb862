"""A recipe: everything that names a training run, checked where it is made. Reads no file (`recipe_file`), runs nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.study import Modality
from foveal_train.model.profile import DecoderConfig, ModelConfig
from foveal_train.training.student import DistillationConfig, QuantisationConfig


class Method(StrEnum):
    """What is trained; the baselines are rows of `foveal sweep` alone."""

    MULTIMODAL = "multimodal"
    """The model of this project, which `foveal train` trains."""
    MAJORITY = "majority"
    """Always the grade that is commonest in training."""
    CLIP_ZERO_SHOT = "clip-zero-shot"
    """CLIP as published, grading by prompts."""
    CLIP_FINE_TUNED = "clip-fine-tuned"
    """CLIP trained further on photographs and notes, grading by a linear probe."""
    VISION_ONLY = "vision-only"
    """A plain vision transformer on photographs alone."""


class Alignment(StrEnum):
    """Which vectors the contrastive losses compare (DESIGN, section 4)."""

    INDEPENDENT = "independent"
    """Each side comes from a pass that sees its modality alone, as a real query does."""
    JOINT = "joint"
    """CLS vectors of one pass in which the modalities have attended to each other (how the paper's figures come about)."""


class Weighting(StrEnum):
    """How the losses are weighed against each other."""

    FIXED = "fixed"
    SOFTMAX = "softmax"
    """The paper's equation (1). It can lower the total by moving weight onto whichever loss is smallest."""
    UNCERTAINTY = "uncertainty"
    """Homoscedastic uncertainty (Kendall et al. 2018)."""


class Schedule(StrEnum):
    """How the learning rate moves."""

    COSINE = "cosine"
    """Linear warm-up, then a half cosine to zero at the last step."""
    PLATEAU = "plateau"
    """Halved when the validation's grading loss stalls (paper: patience 5, factor 0.5)."""


class Keep(StrEnum):
    """Which epoch's weights become the run."""

    LAST = "last"
    BEST = "best"
    """The epoch of least grading loss on the validation split, unweighted; of least total where nothing is graded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """Shares of patients, never of images."""

    train: float = 0.8
    """Share of the patients that the model learns from."""
    validation: float = 0.1
    """Share that calibration, early stopping and the export's search look at."""
    test: float = 0.1
    """Share that is held out for every figure."""
    seed: int | None = None
    """Another one, another split; unset is the recipe's own. Teachers of one student differ in `seed` and share this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """AdamW and its schedule."""

    epochs: int = 50
    """Passes over the training studies, at most."""
    batch_size: int = 8
    """Studies a step and process."""
    balanced_sampling: float = 0.0
    """How evenly an epoch draws the grades: 0 shows every study once; above 0 it draws as many studies with replacement, each
    by (1 / its grade's frequency) to this power, so that 1 shows all grades equally often."""
    accumulate: int = 1
    """Steps whose gradients are added before an update."""
    learning_rate: float = 1e-4
    """Of fusion, projections and heads."""
    image_learning_rate: float = 1e-4
    """Of the image backbone."""
    text_learning_rate: float = 1e-4
    """Of the text backbone."""
    weight_decay: float = 0.01
    """Of AdamW."""
    clip_norm: float = 1.0
    """Largest norm of all gradients together."""
    schedule: Schedule = Schedule.PLATEAU
    """How the learning rates fall."""
    warmup: float = 0.1
    """Share of all steps in which the cosine schedule warms up."""
    plateau_patience: int = 5
    """Epochs without a lower grading loss in validation before the rates fall."""
    plateau_factor: float = 0.5
    """What the rates are multiplied by then."""
    early_stop_patience: int = 10
    """Epochs without a lower grading loss in validation after which training ends; 0 never ends early."""
    keep: Keep = Keep.BEST
    """Which epoch's weights the run holds."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which then is the run; 0 is none."""
    bf16: bool = False
    """bfloat16 autocast, where the processor multiplies it natively (AVX-512 BF16, AMX, a GPU); float32 elsewhere."""
    tf32: bool = False
    """TensorFloat-32 in float32 products and convolutions, where the GPU has it: ten bits of mantissa, twice as fast."""
    fused: bool = False
    """AdamW as one kernel; its sums round otherwise in their last bits."""
    compile: bool = False
    """`torch.compile` of the image and text encoders: minutes at the start, faster steps after."""
    cache_frozen: bool = False
    """Keep the outputs of frozen blocks on disk, so that each study passes them once; only without augmentation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """The losses and their fixed weights; 0 leaves a loss out."""

    weighting: Weighting = Weighting.SOFTMAX
    """How the parts are weighed against each other (DESIGN, section 4)."""
    classification: float = 1.0
    """Weight of the grading heads."""
    image_text: float = 1.0
    """Weight of photograph against note."""
    image_structured: float = 1.0
    """Weight of photograph against record."""
    text_structured: float = 1.0
    """Weight of note against record."""
    image_reconstruction: float = 0.0
    """Mean squared error of the image decoder; at 0 the decoder is not built."""
    text_reconstruction: float = 0.0
    """Cross-entropy of the text decoder; at 0 the decoder is not built."""
    lesions: float = 0.0
    """Weight of lesion presence in each cell of the photograph's tokens, where a study has masks; at 0 nothing reads them."""
    lesion_masks: str = ""
    """Folder of lesion masks (docs/datasets.md)."""
    temperature: float = 0.07
    """Of the contrastive losses (paper, section IV-A1)."""
    identical_notes_are_positives: bool = True
    """Studies of a batch whose notes are the same text are positives of each other; False only for recipes/paper."""
    identical_records_are_positives: bool = True
    """Studies of a batch whose records are the same are positives of each other; False only for recipes/paper."""
    unpaired_are_negatives: bool = False
    """Photographs without a note are negatives of the batch's notes, and so on for each pair. Right where no note means no
    finding (BRSET); where notes are missing at random, they may be told away from a note that would have fitted."""
    label_smoothing: float = 0.0
    """Share of a label's probability that all grades get."""
    ordinal: float = 0.0
    """Weight, inside the classification loss, of the squared earth mover's distance between grades (Hou et al. 2016)."""
    class_balance: float = 0.0
    """Exponent of inverse class frequency in the cross-entropy: 0 unweighted, 0.5 square root, 1 balanced."""
    other_heads: float = 0.5
    """Weight, beside the mean loss of the grading schemes icdr and sdrg, of the mean loss of all further heads."""
    prior_correction: bool = True
    """Take what class_balance and optimiser.balanced_sampling add to rare grades out of the heads once training is over, so
    that probabilities are those of the data's own prevalence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """The CLIP of the two baselines; other methods ignore it."""

    model: str = "openai/clip-vit-base-patch32"
    """Hub name."""
    weights: str = "hub"
    """`hub` (or its local cache), or the path of a folder in the hub's layout."""
    prompt: str = "a retinal fundus photograph showing {grade}"
    """What a photograph is compared with, once for each grade's name, in zero-shot grading."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """Training-time changes of photographs; validation and test are left as they are."""

    horizontal_flip: bool = True
    """Mirror half of the photographs left to right."""
    vertical_flip: bool = True
    """Mirror half of them top to bottom."""
    rotation_degrees: float = 15.0
    """Largest rotation, either way."""
    zoom: float = 0.0
    """Scale jitter: 0.1 is 0.9 to 1.1."""
    brightness: float = 0.1
    """Largest relative change."""
    contrast: float = 0.1
    """Largest relative change."""
    colour: float = 0.0
    """Gain jitter of each channel by itself."""
    shift: float = 0.0
    """Largest shift along each axis, as a share of the side: fields that are not centred."""
    gamma: float = 0.0
    """Exponents from exp(-gamma) to exp(gamma): other tone curves."""
    illumination: float = 0.0
    """Largest fall of brightness across the field, and from its centre to its rim: flash and vignetting."""
    downscale: float = 1.0
    """Half of the photographs are scaled down by up to this factor and back: softer optics, fewer pixels; 1 is off."""
    noise: float = 0.0
    """Largest standard deviation of added noise, photographs being in [0, 1]."""

    def __post_init__(self) -> None:
        if self.downscale < 1:
            raise ConfigError(f"augmentation.downscale is {self.downscale}, it must be at least 1 (1 is off)")

    @property
    def is_off(self) -> bool:
        """True when photographs stay as they are."""
        geometry = (self.rotation_degrees, self.zoom, self.shift)
        light = (self.brightness, self.contrast, self.colour, self.gamma, self.illumination)
        amounts = (*geometry, *light, self.downscale - 1, self.noise)
        return not (self.horizontal_flip or self.vertical_flip or any(amounts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole training run."""

    name: str
    """What the recipe is called in runs and tables; a file's name when it does not say."""
    model: ModelConfig
    method: Method = Method.MULTIMODAL
    """The model of this project, or a baseline of `foveal sweep`."""
    seed: int = 0
    """Of weights that are not pretrained, order, augmentation and split."""
    modalities: tuple[Modality, ...] = tuple(Modality)
    """What is trained; studies show these alone."""
    alignment: Alignment = Alignment.INDEPENDENT
    """Which vectors the contrastive losses compare."""
    modality_dropout: float = 0.5
    """Share of studies that show a random proper subset of their modalities in the joint pass; 0 trains full studies only."""
    strip_dr_notes: float = 0.0
    """Share of studies whose note is shown without its sentences on diabetic retinopathy, drawn anew each epoch: a note's
    silence then is no sign of health."""
    keep_empty_notes: bool = False
    """Treat an empty note as text, as the paper does; False: an empty note is absent."""
    split: SplitConfig = field(default_factory=SplitConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    quantisation: QuantisationConfig = field(default_factory=QuantisationConfig)
    decoders: DecoderConfig = field(default_factory=DecoderConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ConfigError("recipe has no modalities; name at least one of image, text, structured")
        if not 0 <= self.modality_dropout < 1:
            raise ConfigError(f"modality_dropout is {self.modality_dropout}, it must be at least 0 and below 1")
        if not 0 <= self.strip_dr_notes <= 1:
            raise ConfigError(f"strip_dr_notes is {self.strip_dr_notes}, it must be a share from 0 to 1")
        if not 0 <= self.optimiser.balanced_sampling <= 1:
            raise ConfigError(f"optimiser.balanced_sampling is {self.optimiser.balanced_sampling}, it must be from 0 to 1")
        if self.optimiser.epochs < 1 or self.optimiser.batch_size < 1 or self.optimiser.accumulate < 1:
            raise ConfigError("optimiser.epochs, batch_size and accumulate must each be at least 1")
        if abs(self.split.train + self.split.validation + self.split.test - 1) > 1e-6:
            raise ConfigError("split.train, split.validation and split.test must add up to 1")
        if self.optimiser.cache_frozen and not self.augmentation.is_off:
            raise ConfigError(
                "optimiser.cache_frozen needs photographs that stay as they are; switch augmentation off (horizontal_flip and "
                "vertical_flip false, every amount 0), or leave cache_frozen out"
            )
        if self.losses.lesions and not (self.losses.lesion_masks and Modality.IMAGE in self.modalities):
            raise ConfigError("losses.lesions needs photographs and their masks; name the folder with losses.lesion_masks=PATH")
        if self.quantisation.epochs:
            self._check_quantisation()
        if "{grade}" not in self.clip.prompt:
            raise ConfigError("clip.prompt has no {grade}; write for example 'a photograph showing {grade}'")
        if self.decoders.image_channels % 8 or self.decoders.image_channels < 16:
            raise ConfigError(
                f"decoders.image_channels is {self.decoders.image_channels}, it must be a multiple of 8 from 16 on"
            )

    def _check_quantisation(self) -> None:
        """Refuse what does not go with training under rounding."""
        config, epochs = self.optimiser, self.quantisation.epochs
        if epochs > config.epochs:
            raise ConfigError(f"quantisation.epochs is {epochs}, more than the {config.epochs} of optimiser.epochs")
        if config.early_stop_patience:
            raise ConfigError("quantisation.epochs needs a last epoch that is known; set optimiser.early_stop_patience=0")
        if config.compile or config.cache_frozen:
            raise ConfigError(
                "quantisation.epochs rounds every call of the encoders; leave optimiser.compile and cache_frozen out"
            )


def recipe_from_document(document: dict[str, Any]) -> Recipe:
    """A recipe as `asdict` gave it, for example from run.json."""
    return TypeAdapter(Recipe).validate_python(document)


def recipe_document(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return document
