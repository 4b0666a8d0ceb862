"""A real server process on loopback, asked as screening software asks it."""

from __future__ import annotations

import io
import json
import math
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from bundles import RECORD, golden_studies, photograph, write_bundle
from google.rpc import code_pb2, error_details_pb2
from PIL import Image
from servers import RunningServer

from foveal_runtime._proto import model_pb2, screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.client import AsyncClient, Client, ClientOptions
from foveal_runtime.client.channel import open_channel
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import (
    InputError,
    OverloadedError,
    PreconditionError,
    StudyError,
    UnavailableError,
    UntrainedError,
    UnverifiedError,
)
from foveal_runtime.rpc.counts import counts
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.rpc.status import error_of, error_of_rpc
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Modality, Record, Study

ALL_KINDS = tuple(VectorKind)


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


def test_every_trained_subset_grades_and_names_what_was_imputed(client: Client) -> None:
    studies = [*golden_studies(), Study(record=Record(age_years=50.0)), Study(note="macula " * 40)]
    results = client.grade(studies).results
    for study, result in zip(studies, results, strict=True):
        assert result.HasField("grade"), result.error.message
        assert [sum(each.probability for each in head.classes) for head in result.grade.graded.heads] == pytest.approx([1, 1])
        assert len(result.grade.modalities) == len(study.modalities)
    assert list(results[-2].grade.imputed_fields) == ["sex", "eye", "diabetes_years", "insulin", "diabetes"]
    assert list(results[-1].grade.truncated_fields) == ["note"]


def test_embed_returns_unit_vectors_of_the_kinds_asked_for(client: Client) -> None:
    study = golden_studies()[-1]
    (both,) = client.embed([study], [VectorKind.IMAGE, VectorKind.JOINT]).results
    assert [v.kind for v in both.embedding.vectors] == [study_pb2.VECTOR_KIND_JOINT, study_pb2.VECTOR_KIND_IMAGE]
    for vector in both.embedding.vectors:
        assert math.fsum(v * v for v in vector.values) == pytest.approx(1, abs=1e-5)
    (default,) = client.embed([study]).results
    assert [v.kind for v in default.embedding.vectors] == [study_pb2.VECTOR_KIND_JOINT]


def animated() -> bytes:
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(photograph()))
    picture.save(buffer, "WEBP", save_all=True, append_images=[picture.rotate(9)])
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 60,000 px a side."""
    png = photograph(format="PNG")
    header = struct.pack(">II", 60_000, 60_000) + png[24:29]
    return png[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + png[33:400]


BAD_STUDIES = {
    "animated file": (study_pb2.Study(image=study_pb2.Image(encoded=animated())), "image", "2 frames"),
    "decompression bomb": (study_pb2.Study(image=study_pb2.Image(encoded=bomb())), "image", "at most 100000000"),
    "no modality": (study_pb2.Study(id="x"), "", "no modality"),
    "blank note": (study_pb2.Study(note="  \n"), "", "no modality"),
    "empty file": (study_pb2.Study(image=study_pb2.Image(encoded=b"")), "image.encoded", "empty"),
    "text named jpg": (study_pb2.Study(image=study_pb2.Image(encoded=b"hello")), "image", "no photograph"),
    "truncated": (study_pb2.Study(image=study_pb2.Image(encoded=photograph()[:900])), "image", "truncated"),
    "1x1": (
        study_pb2.Study(image=study_pb2.Image(raw=study_pb2.RawImage(pixels=b"abc", width=1, height=1, sample_type=1))),
        "image",
        "1 x 1",
    ),
    "raw of wrong length": (
        study_pb2.Study(image=study_pb2.Image(raw=study_pb2.RawImage(pixels=b"abc", width=9, height=9, sample_type=1))),
        "image.raw.pixels",
        "243 bytes",
    ),
    "raw with NaN": (
        study_pb2.Study(
            image=study_pb2.Image(
                raw=study_pb2.RawImage(
                    pixels=np.full((40, 40, 3), np.nan, "<f4").tobytes(), width=40, height=40, sample_type="SAMPLE_TYPE_FLOAT32"
                )
            )
        ),
        "image.raw.pixels",
        "NaN",
    ),
    "negative age": (study_pb2.Study(record=study_pb2.Record(age_years=-3)), "record.age_years", "0 to 125"),
    "absurd age": (study_pb2.Study(record=study_pb2.Record(age_years=4e9)), "record.age_years", "0 to 125"),
    "NaN age": (study_pb2.Study(record=study_pb2.Record(age_years=math.nan)), "record.age_years", "0 to 125"),
    "unknown code": (study_pb2.Study(record=study_pb2.Record(sex=77)), "record.sex", "does not know"),  # type: ignore[arg-type]
    "10 MB note": (study_pb2.Study(note="a" * 10_000_000), "note", "at most 100000"),
    "long id": (study_pb2.Study(id="i" * 999, note="macula"), "id", "at most 256"),
}


@pytest.mark.parametrize("name", BAD_STUDIES)
def test_a_bad_study_has_a_named_field_and_a_reason_and_its_neighbour_an_answer(client: Client, name: str) -> None:
    message, field, words = BAD_STUDIES[name]
    good = study_pb2.Study(note="macula")
    response = client._call(client._screening.Grade, screening_pb2.GradeRequest(studies=[good, message]))
    assert response.results[0].HasField("grade")
    status = response.results[1].error
    assert code_pb2.Code.Name(status.code) == "INVALID_ARGUMENT"
    assert words in status.message
    details = {d.TypeName(): d for d in status.details}
    bad = error_details_pb2.BadRequest()
    assert details["google.rpc.BadRequest"].Unpack(bad)
    assert bad.field_violations[0].field == ".".join(part for part in ("studies[1]", field) if part)
    info = error_details_pb2.ErrorInfo()
    assert details["google.rpc.ErrorInfo"].Unpack(info)
    assert info.domain == "foveal"


def test_a_decompression_bomb_is_refused_by_its_header(bundle_path: Path, tmp_path: Path) -> None:
    with RunningServer(bundle_path, config="max_image_pixels = 100000", folder=tmp_path) as running, running.client() as client:
        (result,) = client.grade([Study(image=photograph(width=640, height=480))]).results
        assert "at most 100000" in result.error.message


def test_raw_pixels_grade_like_the_same_pixels_in_a_png(client: Client) -> None:
    png = photograph(5, format="PNG")
    picture = Image.open(io.BytesIO(png))
    raws = [
        study_pb2.RawImage(pixels=picture.tobytes(), width=320, height=240, sample_type="SAMPLE_TYPE_UINT8"),
        study_pb2.RawImage(
            pixels=(np.asarray(picture) / np.float32(255)).astype("<f4").tobytes(),
            width=320,
            height=240,
            sample_type="SAMPLE_TYPE_FLOAT32",
        ),
        study_pb2.RawImage(
            pixels=(np.asarray(picture).astype("<u2") * 257).tobytes(), width=320, height=240, sample_type="SAMPLE_TYPE_UINT16"
        ),
    ]
    studies = [study_pb2.Study(image=study_pb2.Image(encoded=png))]
    studies += [study_pb2.Study(image=study_pb2.Image(raw=raw)) for raw in raws]
    response = client._call(client._screening.Embed, screening_pb2.EmbedRequest(studies=studies))
    first, *rest = (np.asarray(r.embedding.vectors[0].values) for r in response.results)
    for vector in rest:
        assert np.abs(first - vector).max() <= 1e-5


def test_ten_thousand_studies_in_one_request_are_refused_with_the_limit(client: Client) -> None:
    with pytest.raises(InputError, match="studies has 10000 elements, at most 256"):
        client.grade([Study(note="macula")] * 10_000)


def test_a_request_without_studies_is_refused(client: Client) -> None:
    with pytest.raises(InputError, match="0 studies"):
        client.grade([])


def test_unknown_fields_of_a_newer_client_are_accepted(server: RunningServer) -> None:
    request = screening_pb2.GradeRequest(studies=[study_pb2.Study(note="macula")]).SerializeToString()
    newer = request + bytes([(1000 << 3 & 0x7F) | 0x80, 1000 << 3 >> 7, 42])  # field 1000, varint 42
    with open_channel(server.address) as channel:
        call = channel.unary_unary("/foveal.v1.Screening/Grade", response_deserializer=screening_pb2.GradeResponse.FromString)
        assert call(newer, timeout=10).results[0].HasField("grade")


def test_untrained_heads_and_subsets_give_no_number(tmp_path: Path) -> None:
    bundle = write_bundle(
        tmp_path / "b", trained_heads=(ICDR,), trained_subsets=("image",), aligned=(Modality.IMAGE, Modality.TEXT)
    )
    with RunningServer(bundle) as running, running.client() as client:
        image, record, note = client.grade([Study(image=photograph()), Study(record=RECORD), Study(note="macula")]).results
        assert image.grade.graded.icdr
        assert image.grade.graded.sdrg == screening_pb2.SDRG_GRADE_UNSPECIFIED
        assert [head.head for head in image.grade.graded.heads] == ["icdr"]
        for result in (record, note):
            assert code_pb2.Code.Name(result.error.code) == "FAILED_PRECONDITION"
            assert isinstance(error_of(result.error), UntrainedError)
        (text,) = client.embed([Study(note="macula")], [VectorKind.TEXT]).results
        assert text.HasField("embedding")


def test_unverified_grades_are_refused_unless_the_server_allows_them(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", evidence=Evidence.UNVERIFIED)
    with RunningServer(bundle) as running, running.client() as client:
        (result,) = client.grade([Study(image=photograph())]).results
        assert isinstance(error_of(result.error), UnverifiedError)
        shown = screening_pb2.ExamStudy(eye=study_pb2.EYE_RIGHT, study=study_to(Study(image=photograph())))
        exam = client.grade_exam(screening_pb2.GradeExamRequest(studies=[shown]))
        assert isinstance(error_of(exam.results[0].error), UnverifiedError)
        assert exam.patient.referral == screening_pb2.REFERRAL_UNSPECIFIED
        (embedded,) = client.embed([Study(image=photograph())], [VectorKind.IMAGE]).results
        assert embedded.HasField("embedding")
        assert client.model().evidence["image"].heads["icdr"].status == model_pb2.EVIDENCE_STATUS_UNVERIFIED
        assert any("ICDR from every input" in warning and "unverified" in warning for warning in client.model().warnings)
    with RunningServer(bundle, "--allow-unverified") as running, running.client() as client:
        (result,) = client.grade([Study(image=photograph())]).results
        assert result.grade.graded.icdr
        assert list(result.grade.unverified_heads) == ["icdr", "sdrg"]


def test_a_verified_head_is_served_beside_one_that_is_not(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["evidence"]["image"]["sdrg"]["status"] = "chance"
    (path / "manifest.json").write_text(json.dumps(manifest))
    with RunningServer(path) as running, running.client() as client:
        (result,) = client.grade([Study(image=photograph())]).results
        assert [head.head for head in result.grade.graded.heads] == ["icdr"]
        assert not result.grade.graded.sdrg
        assert list(result.grade.unverified_heads) == ["sdrg"]
        assert any("SDRG from image: hardly trained" in line for line in running.lines)


def test_a_model_that_is_hardly_trained_answers_only_where_that_is_allowed(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", evidence=Evidence.CHANCE)
    with RunningServer(bundle, "--allow-unverified") as running, running.client() as client:
        (result,) = client.grade([Study(image=photograph())]).results
        error = error_of(result.error)
        assert isinstance(error, UntrainedError)
        assert "--allow-untrained" in str(error)
        assert client.embed([Study(image=photograph())]).results[0].HasField("embedding")
    with RunningServer(bundle, "--allow-untrained") as running, running.client() as client:
        (result,) = client.grade([Study(image=photograph())]).results
        assert result.grade.graded.icdr
        assert list(result.grade.unverified_heads) == ["icdr", "sdrg"]


def test_the_second_study_of_one_id_is_refused_and_its_neighbours_are_answered(client: Client) -> None:
    studies = [Study(id="a", note="edema"), Study(id="a", note="drusen"), Study(note="scars"), Study(note="scars")]
    first, second, third, fourth = client.grade(studies).results
    assert [each.HasField("grade") for each in (first, third, fourth)] == [True] * 3
    assert getattr(error_of(second.error), "field", "") == "id"
    (_, again, *_) = client.embed(studies).results
    assert getattr(error_of(again.error), "field", "") == "id"


def test_streams_answer_every_study_by_its_id(client: Client) -> None:
    studies = [Study(id=str(i), image=photograph(i % 5)) if i % 2 else Study(id=str(i), note="edema") for i in range(60)]
    studies.append(Study(id="bad"))
    results = {r.id: r for r in client.grade_stream(iter(studies))}
    assert set(results) == {s.id for s in studies}
    assert results.pop("bad").HasField("error")
    assert all(r.HasField("grade") for r in results.values())
    vectors = {r.id: r for r in client.embed_stream(iter(studies[:-1]), [VectorKind.JOINT])}
    assert len(vectors) == 60
    alone = np.asarray(client.embed([studies[1]]).results[0].embedding.vectors[0].values)
    assert np.abs(alone - np.asarray(vectors["1"].embedding.vectors[0].values)).max() <= 1e-4


@pytest.mark.parametrize("number", [0, 77])
def test_an_enum_that_has_to_be_named_is_never_guessed(client: Client, number: int) -> None:
    raw = study_pb2.RawImage(pixels=bytes(64 * 64 * 3), width=64, height=64)
    raw.sample_type = number  # type: ignore[assignment]
    request = screening_pb2.GradeRequest(studies=[study_pb2.Study(image=study_pb2.Image(raw=raw))])
    with open_channel(client._messages.address) as channel:
        (result,) = screening_pb2_grpc.ScreeningStub(channel).Grade(request, timeout=10).results  # type: ignore[no-untyped-call]
    error = error_of(result.error)
    assert isinstance(error, StudyError)
    assert error.field == "image.raw.sample_type"


def test_equal_bytes_are_answered_from_the_cache(client: Client) -> None:
    study = Study(image=photograph(77))
    first = client.grade([study]).results[0].grade
    again = client.grade([study]).results[0].grade
    assert not first.timing.cached
    assert again.timing.cached
    assert again.graded == first.graded


def test_get_model_tells_what_is_served_and_the_limits(client: Client) -> None:
    model = client.model()
    assert model.embedding_dim == 256
    assert list(model.trained_heads) == ["icdr", "sdrg"]
    assert "image+text+structured" in model.trained_subsets
    assert model.limits.max_studies == 256
    assert model.limits.max_calls_per_caller == 512
    assert model.limits.max_decode_s == 2.0
    assert model.limits.max_elements == {name.removeprefix("foveal.v1."): most for name, most in counts(256).items()}
    # Whatever is added to the message is told, but for the rate, which has no limit here.
    told = {field.name for field, _ in model.limits.ListFields()}
    assert {field.name for field in model.limits.DESCRIPTOR.fields} - told == {"max_calls_per_s"}
    assert [point.threshold for point in model.operating_points["image"].points] == [0.3]
    assert model.image.side_px == 32
    assert model.provider == model_pb2.PROVIDER_CPU
    assert model.model.precision == model_pb2.PRECISION_FP32
    assert model.image.crop


def test_health_names_each_service_and_reflection_is_off(server: RunningServer) -> None:
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    assert server.health() == "SERVING"
    assert server.health("foveal.v1.Screening") == "SERVING"
    assert server.health("foveal.v1.Archive") == "NOT_SERVING"
    with open_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as refused:  # test_access.py has a server with --reflection
            list(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("call", ["Grade", "GradeStream"])
def test_bytes_that_are_no_message_are_the_callers_fault(server: RunningServer, call: str) -> None:
    path = f"/foveal.v1.Screening/{call}"
    with open_channel(server.address) as channel:
        broken = (
            channel.unary_unary(path).future(b"\x0a\x05\x0a\x03\xff\xfe\xfd", timeout=10)
            if call == "Grade"
            else channel.stream_stream(path)(iter([b"\xff\xff"]), timeout=10)
        )
        with pytest.raises(grpc.RpcError) as caught:
            broken.result() if call == "Grade" else list(broken)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error_of_rpc(caught.value, server.address), InputError)


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert calls(AsyncClient) == calls(Client)


def test_an_archive_call_without_a_store_says_how_to_get_one(client: Client) -> None:
    with pytest.raises(PreconditionError, match="--store"):
        client.stats()


def test_a_server_that_is_not_there_is_named_with_the_mend() -> None:
    with Client("127.0.0.1:1", ClientOptions(timeout_s=5)) as nobody, pytest.raises(UnavailableError) as caught:
        nobody.model()
    assert "127.0.0.1:1" in str(caught.value)
    assert "foveal serve" in str(caught.value)


async def test_the_async_client_gives_the_same_answers(server: RunningServer, client: Client) -> None:
    study = Study(image=photograph(3))
    async with AsyncClient(server.address) as other:
        response = await other.grade([study])
        assert (await other.model()).profile == "hand-made"

        async def studies():
            yield Study(id="a", note="macula")

        assert [r.id async for r in other.grade_stream(studies())] == ["a"]
        assert [len(r.embedding.vectors) async for r in other.embed_stream(studies(), [VectorKind.TEXT])] == [1]
        assert (await other.self_test()).passed
    assert response.results[0].grade.graded == client.grade([study]).results[0].grade.graded


def test_photographs_can_be_scaled_down_before_sending(server: RunningServer, client: Client) -> None:
    from foveal_runtime.client.requests import scaled_down

    large = photograph(3, width=1600, height=1200)
    assert len(scaled_down(large, 400)) < len(large) / 4
    assert scaled_down(b"junk", 400) == b"junk"
    with server.client(scale_down_px=800) as small:
        assert small.grade([Study(image=large)]).results[0].HasField("grade")


def test_a_port_in_use_is_one_line(server: RunningServer, bundle_path: Path) -> None:
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "serve", str(bundle_path), "--address", server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: can't listen on")
    assert done.stderr.count("\n") == 1


def test_a_bundle_that_fails_its_self_test_is_not_served(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", golden_shift=3.0)
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "serve", str(bundle), "--address", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "self-test" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bundle_with_one_byte_changed_is_not_served(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    graph = bundle / "fusion.onnx"
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(data)
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "serve", str(bundle), "--address", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "was changed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_plain_text_to_other_machines_needs_a_flag(bundle_path: Path) -> None:
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "serve", str(bundle_path), "--address", "0.0.0.0:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "--insecure" in done.stderr


def test_a_socket_of_this_machine_is_served(bundle_path: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'foveal.sock'}"
    with RunningServer(bundle_path, "--address", address) as running, running.client() as client:
        assert running.address == address
        (result,) = client.grade([Study(image=photograph())]).results
        assert result.HasField("grade")


def test_answers_name_a_bundle_whose_signature_nobody_checked(client: Client, server: RunningServer) -> None:
    assert not client.grade([Study(image=photograph())]).model.signature_verified
    assert "nothing shows who made this bundle: it has no signature" in server.log


def test_a_full_queue_is_refused_with_resource_exhausted_and_a_time_to_retry(bundle_path: Path, tmp_path: Path) -> None:
    config = "cache_entries = 0\nmax_studies = 64\n[queue]\nmax_studies = 64\n[batch]\nmax_studies = 1"
    with RunningServer(bundle_path, config=config, folder=tmp_path) as running, running.client() as client:
        studies = [Study(image=photograph(width=1200, height=900))] * 48
        calls = [client._screening.Grade.future(client._messages.grade(studies), timeout=60) for _ in range(6)]
        codes = [call.exception().code() if call.exception() else None for call in calls]
        assert None in codes
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        refused = next(call for call in calls if call.exception())
        error = error_of_rpc(refused.exception(), running.address)
        assert isinstance(error, OverloadedError)
        assert error.retry_after_s > 0


def test_a_stream_waits_for_room_in_a_full_queue(bundle_path: Path, tmp_path: Path) -> None:
    config = "cache_entries = 0\nstream_window = 32\n[queue]\nmax_studies = 4\n[batch]\nmax_studies = 2"
    with RunningServer(bundle_path, config=config, folder=tmp_path) as running, running.client() as client:
        results = list(client.grade_stream(Study(id=str(i), note="macula " * (i % 9 + 1)) for i in range(100)))
        assert len(results) == 100
        assert all(result.HasField("grade") for result in results)


def test_an_error_that_names_a_huge_value_reaches_its_caller(client: Client) -> None:
    for value in ("x" * 1_000_000, "💥" * 250_000):
        with pytest.raises(InputError, match=r"no operating point .+ … .+bundle has .+"):
            client._call(
                client._screening.Grade, screening_pb2.GradeRequest(studies=[study_to(Study(note="a"))], operating_point=value)
            )


def test_stub_exists_for_every_declared_method() -> None:
    from foveal_runtime.rpc.archive_service import ArchiveService
    from foveal_runtime.rpc.service import ScreeningService

    for service, messages in ((ScreeningService, screening_pb2), (ArchiveService, None)):
        from foveal_runtime._proto import archive_pb2

        name = service.__name__.removesuffix("Service")
        descriptor = (messages or archive_pb2).DESCRIPTOR.services_by_name[name]
        for method in descriptor.methods:
            assert method.name in vars(service), f"{name}.{method.name} is declared and not served"
    assert screening_pb2_grpc.ScreeningServicer is not None
