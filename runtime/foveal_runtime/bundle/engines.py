"""What TensorRT's parser and builder made of a bundle's graphs at export, from its parity.json. Runs no engine."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from foveal_runtime.bundle.bundle import PARITY, Bundle
from foveal_runtime.bundle.manifest import Target
from foveal_runtime.bundle.strictjson import parse_json
from foveal_runtime.errors import BundleError

_MAX_BYTES = 16 << 20
_Counts = dict[str, NonNegativeInt]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class BuiltEngine(_Model):
    """One graph for one architecture."""

    bytes: NonNegativeInt
    seconds: NonNegativeFloat
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    fp16_bytes: NonNegativeInt | None = None
    """Of the engine of the same graph in FP16; None of a bundle that is not INT8."""


class BuiltGraph(_Model):
    """One graph."""

    layers: _Counts
    """By type, in TensorRT's spelling."""
    tensors: _Counts
    """Outputs of layers by element type, in TensorRT's spelling."""
    engines: dict[str, BuiltEngine]
    """By architecture."""


class Built(_Model):
    """All graphs."""

    parser: str
    """Version of TensorRT's parser and builder."""
    architectures: tuple[str, ...]
    graphs: dict[str, BuiltGraph]


def read_built(bundle: Bundle) -> Built | None:
    """What TensorRT made of a bundle; None of one of another target, and where TensorRT was not asked.

    Raises:
        BundleError: parity.json is damaged.
    """
    if bundle.manifest.target is not Target.TENSORRT or PARITY not in bundle.manifest.files:
        return None
    try:
        document = parse_json(bundle.read(PARITY), most_bytes=_MAX_BYTES, texts=True)
        found = document.get("tensorrt") if isinstance(document, dict) else None
        return Built.model_validate(found) if found else None
    except (ValidationError, ValueError):
        raise BundleError(
            f"{PARITY} of {bundle.path} does not say in foveal's form what TensorRT built; export the bundle again"
        ) from None
