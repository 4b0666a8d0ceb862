"""Notes in place of notes: a short sentence for each flag that is present (paper, section III-A), and notes without the label.

Such a note holds nothing but flags, so it names the label ("Diabetic retinopathy is present."): `without_dr` drops every
sentence that names diabetic retinopathy, its stages or diabetic macular disease, or may do so (`dr_terms`). A sentence on
macular edema alone stays: edema is a finding of its own (vein occlusion and surgery cause it too), though it correlates with
the grade.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from foveal_train.data.dr_terms import names_dr


class Finding(StrEnum):
    """BRSET's 13 flags by canonical name, in the order of its columns."""

    DIABETIC_RETINOPATHY = "diabetic_retinopathy"
    MACULAR_EDEMA = "macular_edema"
    SCAR = "scar"
    NEVUS = "nevus"
    AMD = "amd"
    VASCULAR_OCCLUSION = "vascular_occlusion"
    HYPERTENSIVE_RETINOPATHY = "hypertensive_retinopathy"
    DRUSEN = "drusen"
    HEMORRHAGE = "hemorrhage"
    RETINAL_DETACHMENT = "retinal_detachment"
    MYOPIC_FUNDUS = "myopic_fundus"
    INCREASED_CUP_DISC = "increased_cup_disc"
    OTHER = "other"


SENTENCES: dict[Finding, str] = {
    Finding.DIABETIC_RETINOPATHY: "Diabetic retinopathy is present.",
    Finding.MACULAR_EDEMA: "Macular edema is present.",
    Finding.SCAR: "Scar is present.",
    Finding.NEVUS: "Nevus is present.",
    Finding.AMD: "Age-related macular degeneration is present.",
    Finding.VASCULAR_OCCLUSION: "Vascular occlusion is present.",
    Finding.HYPERTENSIVE_RETINOPATHY: "Hypertensive retinopathy is present.",
    Finding.DRUSEN: "Drusen are present.",
    Finding.HEMORRHAGE: "Hemorrhage is present.",
    Finding.RETINAL_DETACHMENT: "Retinal detachment is present.",
    Finding.MYOPIC_FUNDUS: "Myopic fundus is present.",
    Finding.INCREASED_CUP_DISC: "Increased cup-to-disc ratio is present.",
    Finding.OTHER: "Other findings are present.",
}

# "Seen by Dr. Smith." is one sentence.
_SENTENCE_END = re.compile(r"(?<=[.!?;\n])(?<!\bDr\.)(?<!\bDra\.)\s+")


def note_of(findings: Collection[Finding]) -> str:
    """The note of an image: a sentence for each finding in the order of BRSET's columns; "" when there is none."""
    return " ".join(SENTENCES[finding] for finding in Finding if finding in findings)


def without_dr(note: str) -> str:
    """The note without the sentences that name diabetic retinopathy or diabetic macular disease; "" may remain."""
    return " ".join(s for s in _SENTENCE_END.split(note) if not names_dr(s)).strip()
