"""Embed and grade units of an archive in one process of a cluster: a bundle and its workers, loaded once. Knows nothing of Ray.

What decodes, checks, embeds and grades is what `foveal serve` does it with: the same limits, refusals and golden studies.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format  # type: ignore[import-untyped]

from foveal_runtime.cluster.ledger import Row
from foveal_runtime.cluster.units import STUDIES, Loaded, read
from foveal_runtime.engine.answers import Ask, VectorKind, check_trained
from foveal_runtime.engine.grading import check_given
from foveal_runtime.errors import BundleError, FovealError, UnavailableError, UntrainedError, UnverifiedError
from foveal_runtime.rpc.grade_messages import icdr_from
from foveal_runtime.rpc.limit_messages import limits_to
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.rpc.service import ScreeningService
from foveal_runtime.serving.host import Model, ModelHost
from foveal_runtime.serving.request import Answer, QueueLimits
from foveal_runtime.serving.router import Router
from foveal_runtime.study.study import Study, photograph_subsets

if TYPE_CHECKING:
    from foveal_runtime.serving.config import ServeConfig

UNITS_AHEAD = 2
"""In work at once, so that no worker waits while a unit is read or its rows are sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedPlan:
    """What is asked of every input."""

    config: ServeConfig
    """Of the bundle, as of `foveal serve`."""
    bundle_sha256: str
    """Every node has to have this one."""
    cpus: int
    """Cores of a process, each with a worker."""
    kinds: tuple[VectorKind, ...]
    """Of the vectors; an input has those that it allows."""


class _NoDeadline:
    """A call's context, as far as answering studies needs one."""

    def time_remaining(self) -> None:
        """Nobody waits."""


class Embedder:
    """A bundle and its workers. Its calls may be made from several threads."""

    def __init__(self, plan: EmbedPlan) -> None:
        """Load the bundle and replay its golden studies in each worker.

        Args:
            plan: of the work.

        Raises:
            FovealError: the bundle is unusable here, or another than the plan's.
        """
        studies = max(plan.config.queue.max_studies, 2 * UNITS_AHEAD * STUDIES)
        self._config = config = replace(
            plan.config,
            workers=plan.config.workers or plan.cpus,
            threads=plan.config.threads or 1,
            chosen=True,
            cache_entries=0,
            queue=QueueLimits(max_studies=studies, max_bytes=max(plan.config.queue.max_bytes, 1 << 30)),
        )
        self._kinds = frozenset(plan.kinds)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedder", daemon=True)
        self._thread.start()
        self._host = ModelHost(config.model)
        try:
            self._load(plan.bundle_sha256)
        except BaseException:
            self.close()
            raise
        self._service = ScreeningService(Router(self._host), config, limits_to(config, config.max_message_bytes))

    def _load(self, bundle_sha256: str) -> None:
        bundle = self._wait(self._host.load())
        if bundle.sha256 != bundle_sha256:
            raise BundleError(
                f"{bundle.path} on this node is another bundle than the one that was named; copy it to every node first"
            )

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def rows(self, unit: str) -> Iterator[Row]:
        """A row for each input of a unit, as `ledger` keeps it.

        Args:
            unit: of `units`.
        """
        for part in read(unit):
            yield from self._wait(self._answered(part))

    async def _answered(self, part: Sequence[Loaded]) -> list[Row]:
        model = self._host.model
        whole = [each for each in part if isinstance(each.study, Study)]
        trained = photograph_subsets(model.bundle.manifest.trained_subsets)
        studies = [each.study.within(trained) for each in whole if isinstance(each.study, Study)]
        asks = [self._ask(model, study) for study in studies]
        read = await self._service.read(model, [study_to(study) for study in studies], _NoDeadline())
        answers = await self._service.answer_read(
            model, [(one, ask) for one, (ask, _) in zip(read, asks, strict=True)], _NoDeadline()
        )
        found = {
            each.source: self._row(model, each, answer, ask, why)
            for each, answer, (ask, why) in zip(whole, answers, asks, strict=True)
        }
        return [found.get(each.source) or _failed(each, each.study) for each in part]

    def _ask(self, model: Model, study: Study) -> tuple[Ask, str]:
        """What is asked of a study, and why no grades are; empty where they are."""
        allowed = {VectorKind.JOINT, *(VectorKind(each.value) for each in study.modalities)}
        ask, manifest = Ask(self._kinds & allowed, grade=True), model.bundle.manifest
        try:
            check_trained(manifest, study.modalities, Ask(grade=True))
            check_given(manifest, study.modalities, self._config.given)
        except (UntrainedError, UnverifiedError) as error:
            return replace(ask, grade=False), str(error)
        return ask, ""

    def _row(self, model: Model, each: Loaded, answer: Answer | FovealError, ask: Ask, why: str) -> Row:
        if isinstance(answer, FovealError):
            return _failed(each, answer)
        assert isinstance(each.study, Study)
        row = {
            **_blank(each),
            "id": hashlib.sha256(each.study.image or b"").hexdigest(),
            "status": "OK",
            "message": why,
            **{f"{kind.value}_vector": vector_D for kind, vector_D in answer.outcome.vectors.items()},
        }
        if ask.grade:
            row.update(_graded(self._service.grade_result(each.source, answer, model, "", self._config.operating_point)))
        return row

    def close(self) -> None:
        """End the workers."""
        self._wait(self._host.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _blank(each: Loaded) -> Row:
    return {"source": each.source, "facts": json.dumps(dict(each.facts)) if each.facts else ""}


def _failed(each: Loaded, error: Study | FovealError) -> Row:
    assert isinstance(error, FovealError)
    return {**_blank(each), "status": error.grpc_code, "reason": error.reason, "message": str(error)}


def _graded(result: Any) -> Row:
    """The columns of a `GradeResult`."""
    grade = result.grade
    graded = grade.graded
    has_basis = graded.HasField("referral_basis")
    return {
        "verdict": grade.WhichOneof("verdict") or "",
        "icdr": icdr_from(graded.icdr) if grade.HasField("graded") else None,
        "referable_probability": graded.referral_basis.probability if has_basis else None,
        "grade": json_format.MessageToJson(grade, indent=None),
    }


def retryable(row: Mapping[str, Any]) -> bool:
    """Whether a row says nothing of its input: a worker or a queue was at fault, and another attempt may go well."""
    return row["status"] in _ANOTHER_TIME


_ANOTHER_TIME = frozenset({UnavailableError.grpc_code, "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL"})
