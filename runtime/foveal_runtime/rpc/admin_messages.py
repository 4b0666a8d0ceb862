"""Messages of the `Admin` service, from what a server knows of itself. Asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from foveal_runtime._proto import admin_pb2, screening_pb2
from foveal_runtime.drift.signals import NAMES
from foveal_runtime.drift.stream import BUNDLE, OWN
from foveal_runtime.errors import UnavailableError
from foveal_runtime.lifecycle import Event
from foveal_runtime.rpc.messages import model_ref_to

if TYPE_CHECKING:
    from foveal_runtime.access.watching import Watched
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.drift.stream import Stream, Week
    from foveal_runtime.drift.watch import Watch
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.rpc.certificates import ServerFiles
    from foveal_runtime.rpc.latency import Latencies
    from foveal_runtime.serving.host import ModelHost

_EVENT_TO = {
    Event.SERVING: admin_pb2.BUNDLE_EVENT_SERVING,
    Event.UPGRADED: admin_pb2.BUNDLE_EVENT_UPGRADED,
    Event.ROLLED_BACK: admin_pb2.BUNDLE_EVENT_ROLLED_BACK,
    Event.REFUSED: admin_pb2.BUNDLE_EVENT_REFUSED,
}
_KIND_TO = {OWN: admin_pb2.DRIFT_REFERENCE_KIND_OWN, BUNDLE: admin_pb2.DRIFT_REFERENCE_KIND_BUNDLE}


def self_test_to(report: SelfTestReport, bundle: Bundle) -> admin_pb2.SelfTestResponse:
    """The message for a self-test's report."""
    return admin_pb2.SelfTestResponse(
        passed=report.passed,
        studies=report.studies,
        min_cosine=report.min_cosine,
        max_abs_embedding=report.max_abs_embedding,
        max_abs_probability=report.max_abs_probability,
        icdr_flips=report.icdr_flips,
        referable_flips=report.referable_flips,
        neighbour_dependence=report.neighbour_dependence,
        failures=[
            admin_pb2.Drift(study=d.study, subset=d.subset, quantity=d.quantity, got=d.got, limit=d.limit)
            for d in report.failures
        ],
        model=model_ref_to(bundle),
    )


def models_to(hosts: Iterable[tuple[str, ModelHost]]) -> Iterator[admin_pb2.LoadedModel]:
    """The bundles that are loaded, by their models' names."""
    for name, host in hosts:
        try:
            bundle = host.bundle
        except UnavailableError:
            continue  # it has yet to be loaded
        yield admin_pb2.LoadedModel(name=name, model=model_ref_to(bundle), healthy=host.healthy)


def history_to(hosts: Iterable[tuple[str, ModelHost]]) -> list[admin_pb2.BundleChange]:
    """What became of the bundles of several models, the latest last."""
    changes = sorted(((change, name) for name, host in hosts for change in host.history.changes), key=lambda each: each[0].at)
    return [
        admin_pb2.BundleChange(
            at=_time(change.at),
            name=name,
            event=_EVENT_TO[change.event],
            bundle_sha256=change.bundle_sha256,
            reason=change.reason,
        )
        for change, name in changes
    ]


def certificate_to(watched: Watched[ServerFiles] | None) -> admin_pb2.Certificate | None:
    """The certificate that new connections are shown; None without TLS."""
    if watched is None:
        return None
    files = watched.value
    return admin_pb2.Certificate(
        names=files.names,
        issuer=files.issuer,
        ends=_time(files.ends),
        days_left=files.days_left(datetime.now(UTC)),
        asks_callers=files.authorities is not None,
        current=watched.is_current,
    )


def latency_to(latencies: Latencies) -> admin_pb2.Latency:
    """How long calls took lately."""
    return admin_pb2.Latency(calls=latencies.calls, p50_ms=latencies.p50_ms, p99_ms=latencies.p99_ms)


def drift_to(streams: Sequence[Stream] | None, weeks: int) -> admin_pb2.GetDriftResponse:
    """What was counted of each camera.

    Args:
        streams: of the cameras; None where nothing is counted.
        weeks: of each, the latest; 0 is all.
    """
    cameras = [
        admin_pb2.CameraDrift(
            camera=stream.camera,
            device=stream.device,
            photographs=stream.photographs,
            references=[_reference(name, watch) for name, watch in stream.watches.items()],
            weeks=[_week(name, stream.weeks[name]) for name in sorted(stream.weeks)[-weeks:]],
        )
        for stream in streams or ()
    ]
    return admin_pb2.GetDriftResponse(counted=streams is not None, cameras=cameras)


def _reference(name: str, watch: Watch) -> admin_pb2.DriftReference:
    alarm = watch.alarm
    return admin_pb2.DriftReference(
        kind=_KIND_TO[name],
        photographs=watch.photographs,
        alarm=None if alarm is None else admin_pb2.DriftAlarm(since=_time(alarm.since), signals=alarm.signals),
        evidence=watch.share_of_limit,
    )


def _week(name: str, week: Week) -> admin_pb2.DriftWeek:
    verdicts = screening_pb2.QualityStatus
    means = {signal: mean for signal in NAMES if (mean := week.mean(signal)) is not None}
    return admin_pb2.DriftWeek(
        week=name,
        photographs=week.photographs,
        quality=[
            admin_pb2.QualityCount(status=verdicts.Value(f"QUALITY_STATUS_{verdict}"), photographs=count)
            for verdict, count in week.quality.items()
        ],
        icdr=week.grades,
        unlike_training=week.unlike_training,
        means=means,
    )


def _time(at: datetime | str) -> str:
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def state_to(serving: bool) -> Any:
    """Whether a part answers."""
    return admin_pb2.SERVING_STATE_SERVING if serving else admin_pb2.SERVING_STATE_NOT_SERVING
