"""How often a gradability check refuses, by family and kind of picture; as a document and as text. Fits nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quality_samples import Family

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Every sample's numbers, without its picture."""

    features_NF: npt.NDArray[np.float32]
    verdict_N: npt.NDArray[np.int64]
    base_N: npt.NDArray[np.int64]
    real_N: npt.NDArray[np.bool_]
    family_N: npt.NDArray[np.object_]
    kinds_N: list[tuple[str, ...]]

    def has(self, kinds: set[tuple[Family, str]]) -> npt.NDArray[np.bool_]:
        """Which samples are of one of those kinds."""
        return np.array([any((f, k) in kinds for k in own) for f, own in zip(self.family_N, self.kinds_N, strict=True)])


def report(table: Table, p_NV: Floats, rows: npt.NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """Refused of each family and kind, and how often the reason was right where it was refused."""
    refused = p_NV[:, 0] < threshold
    reason = 1 + p_NV[:, 1:].argmax(axis=1)
    document: dict[str, Any] = {}
    for family in Family:
        own = rows & (table.family_N == family)
        parts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for i in np.flatnonzero(own):
            kinds = table.kinds_N[i]
            kind = "two at once" if len(kinds) > 1 else kinds[0] if kinds else "photographs"
            made_of = "" if table.real_N[i] or family is Family.NOT_FUNDUS else " (drawn)"
            parts[kind + made_of][0] += int(refused[i])
            parts[kind + made_of][1] += 1
        bad = own & refused & (table.verdict_N > 0)
        document[family.value] = {
            "refused": int((own & refused).sum()),
            "of": int(own.sum()),
            "of real photographs": [int((own & refused & table.real_N).sum()), int((own & table.real_N).sum())],
            "reason right": round(float((reason[bad] == table.verdict_N[bad]).mean()), 4) if bad.any() else None,
            "kinds": dict(sorted(parts.items())),
        }
    return document


def show(title: str, document: dict[str, Any]) -> None:
    """The report as text; kinds that are worse than asked."""
    print(title)
    for family, found in document.items():
        real, right = found["of real photographs"], found["reason right"]
        share = found["refused"] / max(found["of"], 1)
        print(
            f"  {family}: {found['refused']} of {found['of']} refused, {share:.2%}; real {real[0]} of {real[1]}; reason {right}"
        )
        good = family in (Family.PHOTOGRAPH.value, Family.RECAST.value)
        for kind, (refused, total) in found["kinds"].items():
            if (refused / total > 0.02) if good else (refused / total < 0.97):
                print(f"      {kind:40s} {refused} of {total}")
