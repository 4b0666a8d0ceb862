"""Fingerprints of studies: whether two data sets are the same, wherever they lie. Decodes nothing, names nobody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from foveal_runtime.bundle.golden import record_to_json
from foveal_runtime.study.labels import SCHEMES, Head
from foveal_train.data.duplicates import content_hash
from foveal_train.data.sample import Sample


def fingerprint(samples: Iterable[Sample], *, named: bool = False, heads: Iterable[Head] = SCHEMES) -> str:
    """SHA-256 over what studies are, whatever their order and wherever they lie.

    Photographs count by their content (without EXIF), notes, records and labels by their words and values; ids and patients do
    not, so that a copy under other names has the same fingerprint.

    Args:
        samples: the studies.
        heads: whose labels count; those of the grading schemes do in any case.
        named: ids and patients count as well. A split follows from them, so this is what tells whether a training is the same.

    Raises:
        DataError: a photograph can't be read.
    """
    rows, heads = [], tuple(heads)
    for sample in samples:
        image = sample.image_bytes()
        row: dict[str, Any] = {
            "image": None if image is None else content_hash(image),
            "note": sample.note,
            "record": None if sample.record is None else record_to_json(sample.record),
            "icdr": sample.labels.icdr,
            "sdrg": sample.labels.sdrg,
            **{head: sample.labels.of(head) for head in heads if head not in SCHEMES},
        }
        if named:
            row |= {"id": sample.id, "patient": sample.patient_id}
        rows.append(hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).digest())
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()
