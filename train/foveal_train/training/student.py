"""A recipe's settings of a student: what teachers, and INT8's rounding, add to a training. Trains nothing."""

from __future__ import annotations

from dataclasses import dataclass

from foveal_runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationConfig:
    """What `foveal distill` adds to the losses, always with these weights; without teachers none of it is used."""

    grades: float = 1.0
    """Weight of the divergence from the teachers' calibrated probabilities. Labels keep their own loss beside it."""
    temperature: float = 2.0
    """Softens both sides of that divergence (Hinton et al. 2015)."""
    vectors: float = 1.0
    """Weight of one less the cosine between the student's joint vector and the teachers'."""
    flips: bool = True
    """Let teachers see each photograph mirrored as well, as far as they were trained so, and take the mean."""

    def __post_init__(self) -> None:
        if self.grades < 0 or self.vectors < 0:
            raise ConfigError("distillation.grades and distillation.vectors are weights, they must not be below 0")
        if self.temperature <= 0:
            raise ConfigError(f"distillation.temperature is {self.temperature}, it must be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantisationConfig:
    """Training under INT8's rounding, so that export finds weights that it can round without loss."""

    epochs: int = 0
    """The last epochs of the training, which round as `foveal export --precision int8` does; 0 leaves rounding to export."""
    weight_bits: int = 7
    """7 for processors of any kind, as export's default; 8 for `--cpu vnni` and TensorRT."""

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"quantisation.epochs is {self.epochs}, it must be at least 0")
        if self.weight_bits not in (7, 8):
            raise ConfigError(f"quantisation.weight_bits is {self.weight_bits}, it must be 7 or 8, as export has them")
