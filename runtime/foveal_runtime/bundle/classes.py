"""Whether a bundle's heads fit its fusion graph and its calibration. Reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.study.labels import Head, check_heads


def check_classes(
    heads: Mapping[Head, Sequence[str]],
    trained: Sequence[Head],
    widths: Mapping[str, int | str],
    calibration: Mapping[str, SubsetCalibration],
) -> str:
    """What is wrong; empty where nothing is.

    Args:
        heads: classes by head.
        trained: heads that answer.
        widths: last axis of the fusion graph's outputs by name; none where a bundle does not say.
        calibration: by subset.
    """
    if wrong := check_heads(heads):
        return wrong
    for head in trained:
        if head not in heads:
            return f"trained head {head} is none of the heads"
        if widths and widths.get(f"{head}_BG") != len(heads[head]):
            return f"the fusion graph has not the classes of head {head}"
    for subset in calibration.values():
        if any(len(bias) != len(heads.get(head, ())) for head, bias in subset.bias.items()):
            return "a prior has not the classes of its head"
    return ""
