"""Can this photograph be graded? A small fitted check over the numbers of `measures`. Knows nothing of models.

The check is a few small networks (`quality.json`, beside this module) whose mean gives the probability of each verdict. It was
fitted on real photographs, on drawn ones, on both as other cameras and eyes would give them, on both spoilt, and on drawn
pictures of other things (benchmarks/fit_quality.py, which writes the file and reports on what was left out of the fit). A
photograph whose probability of being gradable reaches one threshold passes; else the likeliest reason is given. A clinic may
have a threshold of its own: `site`. A photograph that passes is gradable by this check, no more.

Shapes: F numbers of `measures`, M networks, H hidden units, V verdicts in the order of `Quality`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from foveal_runtime.photo.imaging import Float32
from foveal_runtime.photo.measures import NAMES, measure

_FILE = Path(__file__).with_name("quality.json")
_FORMAT = 1
_REACH = 5.0
"""Standard deviations beyond which a number says no more: what lies farther out was never seen."""
_FAR = 8.0
"""The same for the distance from all that is gradable."""
_BRIGHT_P95 = NAMES.index("bright_p95")
_GROUND_LEVEL = NAMES.index("ground_level")
_DARKEST = 36 / 255
"""Of the photograph's bright end; what lies below it is too dark, whatever the networks say. The darkest photograph of the fit
that passes for gradable, a pigmented fundus, has 60 / 255."""


class Quality(Enum):
    """The verdict; the value is the sentence for people."""

    GRADABLE = "the photograph can be graded"
    TOO_DARK = "the photograph is blank or too dark; check the flash and take it again"
    OUT_OF_FOCUS = "the photograph is out of focus; take it again"
    FIELD_MISSING = "most of the circular field of view is missing; centre the eye and take it again"
    NOT_FUNDUS = "this does not look like a colour fundus photograph; check what was sent"

    @property
    def sentence(self) -> str:
        """What to tell people."""
        return self.value


VERDICTS = tuple(Quality)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Check:
    """The fitted check."""

    mean_F: Float32
    scale_F: Float32
    """Mean and deviation of the numbers of gradable photographs."""
    hidden_MFH: Float32
    hidden_bias_MH: Float32
    verdict_MHV: Float32
    verdict_bias_MV: Float32
    whiten_FF: Float32
    """Makes the numbers of gradable photographs uncorrelated and of deviation 1."""
    usual: float
    """Distance from the gradable ones' mean, in deviations, within which nearly all of them lie."""
    min_gradable: float
    """Probability of being gradable from which a photograph passes."""
    identity: str
    """Which fit this is: the start of its file's SHA-256."""

    def probabilities(self, features_F: Float32) -> Float32:
        """Of each verdict, `p_V`."""
        standard_F = (features_F - self.mean_F) / self.scale_F
        hidden_MH = np.tanh(standard_F.clip(-_REACH, _REACH) @ self.hidden_MFH + self.hidden_bias_MH)
        logits_MV = (hidden_MH[:, None] @ self.verdict_MHV)[:, 0] + self.verdict_bias_MV
        odds_MV = np.exp(logits_MV - logits_MV.max(axis=1, keepdims=True))
        p_V: Float32 = (odds_MV / odds_MV.sum(axis=1, keepdims=True)).mean(axis=0)
        p_V[0] *= self._familiar(standard_F)
        p_V[-1] += 1 - p_V.sum()
        return p_V

    def _familiar(self, standard_F: Float32) -> np.float32:
        """1 for numbers as gradable photographs have them, 0 for what is unlike all of them: networks guess there."""
        far = np.linalg.norm(standard_F.clip(-_FAR, _FAR) @ self.whiten_FF)
        return np.float32(1 / (1 + math.exp(min(float(far) - self.usual, 50.0))))


ARRAYS = tuple(name for name in Check.__dataclass_fields__ if name[-1].isupper())
"""Of a check's fields, the fitted ones."""


@lru_cache(maxsize=1)
def shipped_check() -> Check:
    """The check that comes with this package."""
    data = _FILE.read_bytes()
    document = json.loads(data)
    assert document["format_version"] == _FORMAT, "quality.json and this module belong to one version"
    assert tuple(document["features"]) == NAMES, "quality.json was fitted on other numbers; run benchmarks/fit_quality.py"
    assert document["verdicts"] == [quality.name for quality in VERDICTS]
    arrays = {name: np.asarray(document[name], np.float32) for name in ARRAYS}
    return Check(
        **arrays, usual=document["usual"], min_gradable=document["min_gradable"], identity=hashlib.sha256(data).hexdigest()[:16]
    )


APPEARANCE = ("green_p50", "red_green", "falls_01", "ring_3", "lit_share")
"""Of the numbers of `measures` those that tell a camera: light, colour, sharpness, evenness, framing."""
_APPEARANCE = [NAMES.index(name) for name in APPEARANCE]


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the check says of one photograph."""

    gradable: float
    """Probability that it can be graded, 0 to 1."""
    reason: Quality
    """Likeliest reason against it."""
    appearance: tuple[float, ...]
    """The numbers of `APPEARANCE`."""

    def verdict(self, min_gradable: float | None = None) -> Quality:
        """Gradable, or the reason.

        Args:
            min_gradable: probability from which a photograph passes; None is the check's own.
        """
        least = shipped_check().min_gradable if min_gradable is None else min_gradable
        return Quality.GRADABLE if self.gradable >= least else self.reason


def judge(picture: Image.Image) -> Assessment:
    """Probability and reason for a decoded RGB photograph, as `imaging.photograph` gives it."""
    features_F = measure(picture)
    appearance = tuple(features_F[_APPEARANCE].tolist())
    if features_F[_BRIGHT_P95] < _DARKEST:
        # Nothing on camera black, or an empty page.
        return Assessment(0.0, Quality.NOT_FUNDUS if features_F[_GROUND_LEVEL] == 1 else Quality.TOO_DARK, appearance)
    p_V = shipped_check().probabilities(features_F)
    return Assessment(float(p_V[0]), VERDICTS[1 + int(p_V[1:].argmax())], appearance)


def assess(picture: Image.Image, min_gradable: float | None = None) -> Quality:
    """The verdict on a decoded RGB photograph.

    Args:
        picture: as `imaging.photograph` gives it.
        min_gradable: a clinic's own threshold (`site`); None is the check's.
    """
    return judge(picture).verdict(min_gradable)
