"""Inputs of each graph made from real studies, for calibration and for tapping. Decodes nothing; see `cases`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from foveal_export.graphs import observers
from foveal_export.studies.cases import Case
from foveal_runtime.bundle.manifest import FUSION
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.study.notes import pad_notes
from foveal_runtime.study.study import Modality, Subset

Float = npt.NDArray[np.float32]


def encoder_feed(prepared: Prepared, modality: Modality) -> dict[str, observers.Array]:
    """One study as the input of its modality's graph, batch of one, unpadded."""
    if modality is Modality.IMAGE:
        assert prepared.pixels_CHW is not None
        return {"pixels_BCHW": prepared.pixels_CHW[None]}
    if modality is Modality.TEXT:
        assert prepared.ids_T is not None
        input_ids_BT, attention_mask_BT = pad_notes([prepared.ids_T])
        return {"input_ids_BT": input_ids_BT, "attention_mask_BT": attention_mask_BT}
    assert prepared.features_F is not None
    return {"features_BF": prepared.features_F[None]}


def fusion_feed(tokens: Mapping[Modality, Float]) -> dict[str, observers.Array]:
    """Tokens [T, D] of the modalities a study is seen through as the input of the fusion graph, batch of one."""
    width = next(iter(tokens.values())).shape[-1]
    heads = np.zeros((len(Modality), width), np.float32)
    mask = np.zeros(len(Modality), np.bool_)
    bodies = []
    for place, modality in enumerate(Modality):
        if modality in tokens:
            heads[place], mask[place] = tokens[modality][0], True
            bodies.append(tokens[modality][1:])
    body = np.concatenate(bodies)
    return {
        "tokens_BTD": np.concatenate([heads, body])[None],
        "mask_BT": np.concatenate([mask, np.ones(len(body), np.bool_)])[None],
    }


class Feeds:
    """Inputs of every graph of a model over some studies; encoders are run once, in FP32, for the fusion graph's."""

    def __init__(self, graphs: Mapping[str, onnx.ModelProto], cases: Sequence[Case], subsets: Sequence[Subset]) -> None:
        """Args:
        graphs: FP32, by name.
        cases: studies with all they have.
        subsets: trained subsets; the fusion graph sees each of them.
        """
        self._encoders: dict[Modality, list[dict[str, observers.Array]]] = {}
        self._fusion: list[dict[str, observers.Array]] = []
        tokens: list[dict[Modality, Float]] = [{} for _ in cases]
        for modality in Modality:
            if modality.value in graphs:
                # One encoder loaded at a time: those of `base` together take 2 GB.
                session = observers.session(graphs[modality.value])
                for case, seen in zip(cases, tokens, strict=True):
                    if modality in case.prepared.subset:
                        feed = encoder_feed(case.prepared, modality)
                        self._encoders.setdefault(modality, []).append(feed)
                        seen[modality] = session.run(None, feed)[0][0]
                del session
        turn = 0
        for seen in tokens:
            able = [subset for subset in subsets if subset <= frozenset(seen)]
            if able:
                # Subsets take turns: as many fusion inputs as studies, every subset among them.
                subset = able[turn % len(able)]
                turn += 1
                self._fusion.append(fusion_feed({m: seen[m] for m in subset}))

    def of(self, name: str) -> list[dict[str, observers.Array]]:
        """Inputs of one graph, by its name; empty when no study has the modality."""
        return self._fusion if name == FUSION else self._encoders.get(Modality(name), [])
