"""Studies to vectors and logits with a bundle's graphs, in this process. Knows nothing of queues, workers or gRPC.

`prepare` decodes and tokenises one study; `run` takes any mix of prepared studies through the graphs. Encoders run only
on the rows that have their modality, rows of like length share a call, and no answer depends on its neighbours
(DESIGN, section 7). Shape legend: see `foveal_runtime.engine.session`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import FUSION, Manifest
from foveal_runtime.engine.answers import Ask, EvidenceMap, Outcome, Prepared, VectorKind, check_trained
from foveal_runtime.engine.budget import MemoryBudget
from foveal_runtime.engine.compiled import Compiled
from foveal_runtime.engine.novelty import feature, read_novelty
from foveal_runtime.engine.occlusion import evidence_map
from foveal_runtime.engine.ort import usable_cores
from foveal_runtime.engine.passes import Pass, grouped, passes_of, timed
from foveal_runtime.engine.providers import Provider
from foveal_runtime.engine.seen import Decoding, Seen, see
from foveal_runtime.engine.session import RunsGraph, open_sessions, provider_of
from foveal_runtime.engine.variants import served
from foveal_runtime.errors import UntrainedError
from foveal_runtime.photo.dicom import filled, is_dicom, told_by_header
from foveal_runtime.photo.imaging import Float32, ImageLimits
from foveal_runtime.study.labels import Head, referral_log_odds
from foveal_runtime.study.notes import NoteTokeniser, pad_notes
from foveal_runtime.study.record import encode_record
from foveal_runtime.study.study import Modality, Record, Study, subset_name

_A = TypeVar("_A", bound=npt.NDArray[Any])

TEXT_BUCKET_TOKENS = 16
"""Notes whose lengths round up to the same multiple share a call; padding costs at most this many tokens a row."""
FUSION_BUCKET_TOKENS = 32
"""The same for rows of the fusion graph."""


class Engine:
    """A bundle's graphs on one provider. Threads may share it: nothing in it changes."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: Provider | str = Provider.CPU,
        threads: int | None = None,
        limits: ImageLimits | None = None,
        max_rows: int = 32,
        compiled: Compiled | None = None,
        exact: bool = False,
        min_gradable: float | None = None,
        graphs: Mapping[str, RunsGraph] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Load the graphs.

        Args:
            bundle: an opened bundle; of a graph that has variants one is loaded (`engine.variants`).
            provider: where the graphs run.
            threads: threads inside one graph call; None is every core this process may use.
            limits: what is refused before decoding; None is the default.
            max_rows: rows in one graph call; more are split, which bounds memory.
            compiled: the bundle's graphs as compiled on this device; None loads the bundle's own.
            exact: add INT8 products in 32 bits on every processor: for export, which judges what another will compute.
            min_gradable: probability from which a photograph passes the gradability check; None is the check's own.
            graphs: who runs each graph in place of ONNX Runtime in this process; None loads them here.
            clock: seconds, by which the graphs are timed.

        Raises:
            ConfigError: the provider is not available, or the bundle is for processors with VNNI and this one has none.
            BundleError: a graph does not load.
        """
        self.provider = provider_of(provider)
        self.bundle = bundle = served(bundle, self.provider, compiled)
        self.manifest: Manifest = bundle.manifest
        self._limits = ImageLimits() if limits is None else limits
        self._min_gradable = min_gradable
        self._budget = MemoryBudget(self._limits.max_decoded_bytes)
        built_for = [shape.max[0] for graph in self.manifest.graphs.values() for shape in graph.shapes.values()]
        self.max_rows = min([max_rows, *built_for])
        self._clock = clock
        cores = usable_cores() if threads is None else threads
        if graphs is None:
            graphs = open_sessions(bundle, self.provider, cores, compiled, exact=exact)
        self._sessions = graphs
        self._novelty = read_novelty(bundle) if Modality.IMAGE in self._sessions else None
        self._tokenise = NoteTokeniser(bundle.tokenizer_json, self.manifest.text) if Modality.TEXT in self._sessions else None

    def prepare(
        self,
        study: Study,
        decoding: Decoding = lambda *sizes: contextlib.nullcontext(),
    ) -> Prepared:
        """Decode, tokenise and standardise one study.

        Args:
            study: whatever a caller sent.
            decoding: entered with the photograph's size in bytes, and that of the memory for it, while it is decoded.

        Raises:
            StudyError: no modality, or one that is malformed; `ImageError` for the photograph.
            UntrainedError: a modality that the bundle has no encoder for.
        """
        started = time.perf_counter()
        study.validate()
        subset = study.modalities
        for modality in subset:
            if modality not in self._sessions:
                raise UntrainedError(
                    f"this bundle has no {modality.value} encoder; leave the {modality.value} out of the study"
                )
        ids_T = features_F = None
        imputed: tuple[str, ...] = ()
        truncated, seen = False, Seen()
        from_header: tuple[str, ...] = ()
        if Modality.IMAGE in subset:
            assert study.image is not None
            seen = see(
                study.image,
                self.manifest.image,
                limits=self._limits,
                budget=self._budget,
                min_gradable=self._min_gradable,
                decoding=decoding,
            )
            if is_dicom(study.image):
                given = study.record or Record()
                study = self._with_header(study, seen.header)
                from_header = told_by_header(given, study.record or Record(), seen.header)
                subset = study.modalities
        if Modality.TEXT in subset:
            assert study.note is not None
            assert self._tokenise is not None
            note = self._tokenise(study.note)
            ids_T, truncated = note.ids_T, note.truncated
        if Modality.STRUCTURED in subset:
            assert study.record is not None
            record = encode_record(study.record, self.manifest.features)
            features_F, imputed = record.features_F, record.imputed
        return Prepared(
            subset=subset,
            pixels_CHW=seen.pixels_CHW,
            ids_T=ids_T,
            features_F=features_F,
            imputed=imputed,
            truncated=truncated,
            quality=seen.quality,
            frame=seen.frame,
            appearance=seen.appearance,
            device=seen.device,
            eye=(study.record.eye if study.record is not None else None) or seen.header.eye,
            from_header=from_header,
            prepare_ms=(time.perf_counter() - started) * 1e3,
        )

    def _with_header(self, study: Study, header: Record) -> Study:
        """The study with the record's gaps filled from a DICOM header, unless that makes a subset that was not trained, or
        one whose grades are less proven."""
        more = replace(study, record=filled(study.record, header))
        before, after = subset_name(study.modalities), subset_name(more.modalities)
        proven = self.manifest.is_proven
        lost = any(proven(before, head) and not proven(after, head) for head in self.manifest.trained_heads)
        return study if lost or after not in self.manifest.trained_subsets else more

    def run(
        self, prepared: Sequence[Prepared], *, kinds: frozenset[VectorKind] = frozenset(), grade: bool = True
    ) -> list[Outcome]:
        """Take studies through the graphs; one outcome a study, in order.

        Args:
            prepared: any mix of subsets; an empty sequence gives an empty list.
            kinds: vectors to return. A kind whose modality a study lacks is left out of its outcome.
            grade: also return the logits of the trained heads.

        Raises:
            UntrainedError: for any of the studies, before anything is computed.
        """
        return self.run_each(prepared, [Ask(kinds, grade)] * len(prepared))

    def run_each(self, prepared: Sequence[Prepared], asks: Sequence[Ask]) -> list[Outcome]:
        """`run` with a wish of its own for each study.

        Raises:
            UntrainedError: see `run`.
        """
        for item, ask in zip(prepared, asks, strict=True):
            check_trained(self.manifest, item.subset, ask)
        started = time.perf_counter()
        graph_ms: dict[str, float] = {}
        tokens = {}
        for modality in Modality:
            if modality in self._sessions:
                with timed(graph_ms, modality.value, self._clock):
                    tokens[modality] = self._encode(modality, prepared)
        passes = passes_of(prepared, asks)
        with timed(graph_ms, FUSION, self._clock):
            fused = self._fuse(passes, tokens)
        compute_ms = (time.perf_counter() - started) * 1e3
        outcomes = []
        for i, (item, ask) in enumerate(zip(prepared, asks, strict=True)):
            logits: dict[Head, Float32] = {}
            vectors: dict[VectorKind, Float32] = {}
            whole = fused.get(Pass(i, item.subset))
            if ask.grade and whole is not None:
                logits = {head: whole[f"{head}_BG"] for head in self.manifest.trained_heads}
            if VectorKind.JOINT in ask.kinds and whole is not None:
                vectors[VectorKind.JOINT] = whole["joint_BD"]
            for row, modality in enumerate(Modality):
                kind = VectorKind(modality.value)
                if kind in ask.kinds and modality in item.subset:
                    vectors[kind] = fused[Pass(i, frozenset({modality}))]["cls_BMD"][row]
            outcomes.append(
                Outcome(
                    subset=item.subset,
                    logits=logits,
                    vectors=vectors,
                    imputed=item.imputed,
                    truncated=item.truncated,
                    quality=item.quality,
                    appearance=item.appearance,
                    device=item.device,
                    eye=item.eye,
                    prepare_ms=item.prepare_ms,
                    compute_ms=compute_ms,
                    batch_size=len(prepared),
                    from_header=item.from_header,
                    graph_ms=graph_ms,
                    novelty=self._novelty(tokens[Modality.IMAGE][i])
                    if self._novelty and Modality.IMAGE in item.subset
                    else None,
                    evidence=self.evidence_map(item) if ask.evidence and Modality.IMAGE in item.subset else None,
                )
            )
        return outcomes

    def evidence_map(self, item: Prepared) -> EvidenceMap:
        """Where in a study's photograph its evidence for referral lies."""
        return evidence_map(item, self.manifest.image, partial(self.referral_log_odds, item))

    def referral_log_odds(self, item: Prepared, pixels_NCHW: Float32) -> npt.NDArray[np.float64]:
        """Log odds of an ICDR grade of 2 or worse, `[N]`, of a study with each of these photographs in place of its own."""
        copies = [replace(item, pixels_CHW=pixels_CHW) for pixels_CHW in pixels_NCHW]
        tokens = {Modality.IMAGE: self._encode(Modality.IMAGE, copies)}
        for modality in item.subset - {Modality.IMAGE}:
            tokens[modality] = dict.fromkeys(range(len(copies)), self._encode(modality, [item])[0])
        passes = [Pass(i, item.subset) for i in range(len(copies))]
        fused = self._fuse(passes, tokens)
        return referral_log_odds(np.stack([fused[each]["icdr_BG"] for each in passes]))

    def image_features(self, prepared: Sequence[Prepared]) -> npt.NDArray[np.float64]:
        """What `engine.novelty` compares of photographs, a row a study; every study has one."""
        tokens = self._encode(Modality.IMAGE, prepared)
        return np.stack([feature(tokens[i]) for i in range(len(prepared))])

    def _encode(self, modality: Modality, prepared: Sequence[Prepared]) -> dict[int, Float32]:
        """Tokens_TD, CLS first and padding cut off, of every study that has the modality."""
        session = self._sessions[modality]
        rows = [i for i, item in enumerate(prepared) if modality in item.subset]
        lengths = [int(_given(prepared[i].ids_T).size) for i in rows] if modality is Modality.TEXT else [0] * len(rows)
        tokens: dict[int, Float32] = {}
        for group in self._groups(session, rows, lengths, TEXT_BUCKET_TOKENS):
            if modality is Modality.TEXT:
                notes = [_given(prepared[i].ids_T) for i in group]
                input_ids_BT, attention_mask_BT = pad_notes(notes)
                out = session({"input_ids_BT": input_ids_BT, "attention_mask_BT": attention_mask_BT})["tokens_BTD"]
                keep = [min(ids.size, 1 + self.manifest.text.kept_tokens) for ids in notes]
            else:
                feed = (
                    {"pixels_BCHW": np.stack([_given(prepared[i].pixels_CHW) for i in group])}
                    if modality is Modality.IMAGE
                    else {"features_BF": np.stack([_given(prepared[i].features_F) for i in group])}
                )
                out = session(feed)["tokens_BTD"]
                keep = [out.shape[1]] * len(group)
            for row, i in enumerate(group):
                tokens[i] = out[row, : keep[row]]
        return tokens

    def _fuse(self, passes: Sequence[Pass], tokens: dict[Modality, dict[int, Float32]]) -> dict[Pass, dict[str, Float32]]:
        """The fusion graph's outputs, by pass and output name, batch axis removed."""
        session = self._sessions[FUSION]
        lengths = [sum(tokens[m][p.study].shape[0] - 1 for m in p.sees) for p in passes]
        fused: dict[Pass, dict[str, Float32]] = {}
        for group in self._groups(session, list(range(len(passes))), lengths, FUSION_BUCKET_TOKENS):
            width = len(Modality) + max(lengths[i] for i in group)
            tokens_BTD = np.zeros((len(group), width, self.manifest.embedding_dim), np.float32)
            mask_BT = np.zeros((len(group), width), np.bool_)
            for row, i in enumerate(group):
                end = len(Modality)
                for place, modality in enumerate(Modality):
                    if modality in passes[i].sees:
                        part_TD = tokens[modality][passes[i].study]
                        tokens_BTD[row, place] = part_TD[0]
                        tokens_BTD[row, end : end + len(part_TD) - 1] = part_TD[1:]
                        mask_BT[row, place] = True
                        end += len(part_TD) - 1
                mask_BT[row, len(Modality) : end] = True
            out = session({"tokens_BTD": tokens_BTD, "mask_BT": mask_BT})
            for row, i in enumerate(group):
                # Copied, so that a cached row does not keep its whole batch alive.
                fused[passes[i]] = {name: values[row].copy() for name, values in out.items()}
        return fused

    def _groups(self, session: RunsGraph, rows: list[int], lengths: list[int], bucket_tokens: int) -> list[list[int]]:
        return grouped(rows, lengths, bucket_tokens, 1 if session.one_at_a_time else self.max_rows)


def _given(array: _A | None) -> _A:
    assert array is not None
    return array
