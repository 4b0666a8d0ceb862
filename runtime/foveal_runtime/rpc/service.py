"""The `Screening` service: messages in, messages out. No arithmetic and no policy: those are `batching`'s and `grading`'s."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.engine.answers import Ask, check_trained
from foveal_runtime.engine.grading import abstention, check_given, check_operating_point, grade
from foveal_runtime.errors import (
    AuditError,
    ConfigError,
    FovealError,
    ImageError,
    InputError,
    OverloadedError,
    StudyError,
    UntrainedError,
)
from foveal_runtime.rpc import shares
from foveal_runtime.rpc.audited import Audited
from foveal_runtime.rpc.grade_messages import embed_result, exam_to, eye_of, grade_to, grading_ask, study_with_eye
from foveal_runtime.rpc.messages import PROVIDER_TO, kinds_from, model_ref_to, model_to
from foveal_runtime.rpc.metrics import Observer, Observers
from foveal_runtime.rpc.model_asked import model_asked
from foveal_runtime.rpc.reading import UNREAD, ReadStudy, Sent, read_all
from foveal_runtime.rpc.status import status_of
from foveal_runtime.rpc.streams import Requests, patiently, repeated, windowed
from foveal_runtime.serving.host import Model
from foveal_runtime.serving.request import Answer, Request
from foveal_runtime.study.exam import Finding, judge
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Eye

if TYPE_CHECKING:
    from foveal_runtime._proto import model_pb2
    from foveal_runtime.engine.grading import Grades
    from foveal_runtime.serving.config import ServeConfig
    from foveal_runtime.serving.host import ModelHost
    from foveal_runtime.serving.router import Router

log = logging.getLogger(__name__)


class ScreeningService(screening_pb2_grpc.ScreeningServicer):
    """Serves the models of a router."""

    def __init__(
        self,
        router: Router,
        config: ServeConfig,
        limits: model_pb2.Limits,
        observer: Observer | None = None,
        audited: Audited | None = None,
        counted: Callable[[Model, Answer, Grades], None] = lambda *answer: None,
    ) -> None:
        """Args:
        router: to the models.
        config: of the server.
        limits: what it admits, as `GetModel` tells it.
        observer: told of every study; None tells nobody.
        audited: records every answer before it leaves; None records none.
        counted: told of every answer to a study that was to be graded.
        """
        self._counted = counted
        self._limits = limits
        self._router = router
        self._config = config
        self._observer: Observer = Observers() if observer is None else observer
        self._audited = Audited() if audited is None else audited

    async def Grade(self, request: Any, context: Any) -> Any:
        model = self._router.route_grading(*model_asked(context)).model
        point = self._point(model, request.operating_point)
        answers, sent = await self.answer(model, request.studies, grading_ask(request, model.bundle.manifest), context)
        results = [
            self.grade_result(s.id, a, model, f"studies[{i}]", point)
            for i, (s, a) in enumerate(zip(request.studies, answers, strict=True))
        ]
        await self._audited.graded("Grade", model.bundle, zip(sent, results, strict=True), point)
        return screening_pb2.GradeResponse(results=results, model=model_ref_to(model.bundle))

    async def Embed(self, request: Any, context: Any) -> Any:
        model = self._router.route(*model_asked(context)).model
        ask = Ask(kinds_from(request.kinds), grade=False)
        answers, sent = await self.answer(model, request.studies, ask, context)
        results = [
            embed_result(s.id, a, f"studies[{i}]") for i, (s, a) in enumerate(zip(request.studies, answers, strict=True))
        ]
        await self._audited.embedded("Embed", model.bundle, zip(sent, results, strict=True))
        return screening_pb2.EmbedResponse(results=results, model=model_ref_to(model.bundle))

    async def GradeExam(self, request: Any, context: Any) -> Any:
        model = self._router.route_grading(*model_asked(context)).model
        if ICDR not in model.bundle.manifest.trained_heads:
            raise UntrainedError("this bundle's ICDR head was not trained, and a visit is judged by ICDR grades; use Grade")
        point = self._point(model, request.operating_point)
        studies = [study_with_eye(item) for item in request.studies]
        answers, sent = await self.answer(model, studies, grading_ask(request, model.bundle.manifest), context)
        results = []
        photographs: list[tuple[Eye | None, Finding | None]] = []
        for i, (item, study, answer) in enumerate(zip(request.studies, studies, answers, strict=True)):
            try:
                eye = eye_of(item, answer)
            except StudyError as error:
                results.append(screening_pb2.GradeResult(id=item.study.id, error=status_of(error, path=f"studies[{i}]")))
                photographs.append((None, None))
            else:
                result = self.grade_result(item.study.id, answer, model, f"studies[{i}].study", point)
                if result.HasField("grade") and study.record.eye != item.study.record.eye:
                    result.grade.filled_fields.add(field="record.eye", source=screening_pb2.FACT_SOURCE_EXAM)
                results.append(result)
                photographs.append((eye, self._finding(answer, model, point)))
        exam = exam_to(request.id, results, judge(photographs), model.bundle)
        await self._audited.graded("GradeExam", model.bundle, zip(sent, results, strict=True), point, exam)
        return exam

    async def GradeStream(self, requests: Requests, context: Any) -> AsyncIterator[Any]:
        host = self._router.route_grading(*model_asked(context))

        async def one(request: Any) -> Any:
            point = self._point(host.model, request.operating_point)
            model, answer, sent = await self._patiently(host, request.study, Ask(), context)
            result = self.grade_result(request.study.id, answer, model, "study", point)
            await self._audited.graded("GradeStream", model.bundle, [(sent, result)], point)
            return screening_pb2.GradeStreamResponse(result=result, model=model_ref_to(model.bundle), sequence=request.sequence)

        async def failed(request: Any, error: FovealError) -> Any:
            result = screening_pb2.GradeResult(id=request.study.id, error=status_of(error, path="study"))
            if not isinstance(error, AuditError):
                await self._audited.graded("GradeStream", None, [(UNREAD, result)])
            return screening_pb2.GradeStreamResponse(result=result, sequence=request.sequence)

        async for response in self._windowed(requests, one, failed):
            yield response

    async def EmbedStream(self, requests: Requests, context: Any) -> AsyncIterator[Any]:
        host = self._router.route(*model_asked(context))

        async def one(request: Any) -> Any:
            ask = Ask(kinds_from(request.kinds), grade=False)
            model, answer, sent = await self._patiently(host, request.study, ask, context)
            result = embed_result(request.study.id, answer, "study")
            await self._audited.embedded("EmbedStream", model.bundle, [(sent, result)])
            return screening_pb2.EmbedStreamResponse(result=result, model=model_ref_to(model.bundle), sequence=request.sequence)

        async def failed(request: Any, error: FovealError) -> Any:
            result = screening_pb2.EmbedResult(id=request.study.id, error=status_of(error, path="study"))
            if not isinstance(error, AuditError):
                await self._audited.embedded("EmbedStream", None, [(UNREAD, result)])
            return screening_pb2.EmbedStreamResponse(result=result, sequence=request.sequence)

        async for response in self._windowed(requests, one, failed):
            yield response

    async def GetModel(self, request: Any, context: Any) -> Any:
        host = self._router.route(*model_asked(context))
        message, served = model_to(host.bundle), host.served
        message.provider = PROVIDER_TO[served.provider]
        message.workers, message.threads = served.workers, served.threads_each
        message.limits.CopyFrom(self._limits)
        return message

    @property
    def stream_window(self) -> int:
        """Studies of one stream in work at once."""
        return self._config.stream_window

    @property
    def max_studies(self) -> int:
        """Studies in one request."""
        return self._config.max_studies

    async def answer(
        self, model: Model, messages: Sequence[study_pb2.Study], ask: Ask, context: Any
    ) -> tuple[list[Answer | FovealError], list[Sent]]:
        """An answer or an error for each study of a request, all asked the same, and what was sent of it.

        Raises:
            FovealError: the request as a whole is not admitted.
        """
        if not 1 <= len(messages) <= self.max_studies:
            raise InputError(f"request has {len(messages)} studies, 1 to {self.max_studies} are allowed; send them in parts")
        first: dict[str, int] = {}
        again = {i for i, message in enumerate(messages) if message.id and first.setdefault(message.id, i) != i}
        read = await self.read(model, [message for i, message in enumerate(messages) if i not in again], context)
        answered = await self.answer_read(model, [(each, ask) for each in read], context)
        pairs = zip(answered, (each.sent if isinstance(each, ReadStudy) else UNREAD for each in read), strict=True)
        ordered = [(repeated("id"), UNREAD) if i in again else next(pairs) for i in range(len(messages))]
        return [answer for answer, _ in ordered], [sent for _, sent in ordered]

    def _windowed(self, requests: Requests, one: Any, failed: Any) -> AsyncIterator[Any]:
        window = self._config.stream_window
        return windowed(requests, one, failed, id_of=lambda r: str(r.study.id), field="id", window=window)

    async def _patiently(
        self, host: ModelHost, study: study_pb2.Study, ask: Ask, context: Any
    ) -> tuple[Model, Answer | FovealError, Sent]:
        """`answer` for a study of a stream."""

        async def attempt() -> tuple[Model, Answer | FovealError, Sent]:
            model = host.model
            (answer,), (sent,) = await self.answer(model, [study], ask, context)
            if isinstance(answer, OverloadedError):
                raise answer  # it was let in and refused while it waited
            return model, answer, sent

        return await patiently(attempt)

    async def read(self, model: Model, messages: Sequence[study_pb2.Study], context: Any) -> list[ReadStudy | FovealError]:
        """Each message's study, or what is wrong with it.

        Raises:
            OverloadedError: the queue has no room for them.
            DeadlineError: they could only be answered too late.
            AuditError: they may not be answered now.
        """
        self._audited.check()
        if messages:
            model.batcher.check(len(messages), context.time_remaining(), shares.current())
        return await read_all(messages, keys=model.batcher.needs_keys)

    async def answer_read(
        self, model: Model, asked: Sequence[tuple[ReadStudy | FovealError, Ask]], context: Any
    ) -> list[Answer | FovealError]:
        """An answer or an error for each study that was read, with a wish of its own; one that could not be keeps its error.

        Raises:
            FovealError: they are not admitted.
        """
        answers: list[Answer | FovealError | None] = [None] * len(asked)
        requests: list[tuple[int, Request]] = []
        for i, (each, ask) in enumerate(asked):
            try:
                requests.append((i, self._request(model, each, ask)))
            except FovealError as error:
                answers[i] = error
        if requests:
            deadline_s = context.time_remaining()
            share = shares.current()
            if any(request.alone for _, request in requests):
                share = replace(share, bulk=True)
            futures = model.batcher.submit([r for _, r in requests], deadline_s=deadline_s, share=share)
            try:
                done = await asyncio.gather(*futures, return_exceptions=True)
            finally:
                # The caller has gone: what is not yet in a worker is dropped.
                for future in futures:
                    future.cancel()
            for (i, _), outcome in zip(requests, done, strict=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, FovealError):
                    raise outcome
                answers[i] = outcome
        done_with = [answer for answer in answers if answer is not None]
        if self._router.shadow is not None and model.bundle is self._router.default.bundle:
            graded = [(request, done_with[i]) for i, request in requests if request.ask.grade and not request.alone]
            self._router.shadow.compare(model, graded)
        for answer in done_with:
            self._observer.answered(answer)
        return done_with

    def _request(self, model: Model, read: ReadStudy | FovealError, ask: Ask) -> Request:
        if isinstance(read, FovealError):
            raise read
        if read.refusal is not None:
            raise read.refusal
        study = read.study
        study.validate()
        if study.image is None:
            ask = replace(ask, evidence=False)
        check_trained(model.bundle.manifest, study.modalities, ask)
        if ask.grade:
            check_given(model.bundle.manifest, study.modalities, self._config.given)
        if read.pixels is not None and read.pixels > self._config.max_image_pixels:
            raise ImageError(
                f"image has {read.pixels} pixels, at most {self._config.max_image_pixels} are allowed; send it scaled down"
            )
        return Request(
            study=study, ask=ask, pixels=read.pixels or 0, image_sha256=read.image_sha256, known_key=read.photograph_key
        )

    def grade_result(self, study_id: str, answer: Answer | FovealError, model: Model, path: str, point: str) -> Any:
        """The result message of one study, which stands at `path` of its request; `point` decides, empty is the default."""
        if isinstance(answer, FovealError):
            return screening_pb2.GradeResult(id=study_id, error=status_of(answer, path=path))
        grades = self._grades(answer, model, point)
        self._counted(model, answer, grades)
        abstains = abstention(answer.outcome, grades, self._config.withheld)
        if answer.outcome.gradable and abstains is None:
            self._observer.graded(grades)
        return screening_pb2.GradeResult(id=study_id, grade=grade_to(answer, grades, abstains))

    def _finding(self, answer: Answer | FovealError, model: Model, point: str) -> Finding | None:
        """What a photograph adds to its exam; None when it failed, can't be graded, is withheld, or has no ICDR grade."""
        if isinstance(answer, FovealError) or not answer.outcome.gradable:
            return None
        grades = self._grades(answer, model, point)
        if grades.referable is None or abstention(answer.outcome, grades, self._config.withheld) is not None:
            return None
        return Finding(
            icdr=grades.schemes[ICDR].grade,
            referable=grades.referable.decision,
            probability=grades.referable.probability,
        )

    def _grades(self, answer: Answer, model: Model, point: str) -> Grades:
        return grade(answer.outcome, model.bundle.manifest, given=self._config.given, operating_point=point)

    def _point(self, model: Model, asked: str) -> str:
        """The operating point that decides: the caller's, or the server's.

        Raises:
            InputError: the bundle has no point of the caller's name.
        """
        try:
            check_operating_point(model.bundle.manifest, asked)
        except ConfigError as error:
            raise InputError(f"operating_point: {error}") from None
        return asked or self._config.operating_point


def graded_as_served(config: ServeConfig, answer: Answer, model: Model) -> Grades:
    """An answer's grades at the server's operating point, which a bundle that lacks it decides at its default one."""
    return grade(answer.outcome, model.bundle.manifest, given=config.given, operating_point=config.operating_point)
