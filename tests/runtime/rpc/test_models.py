"""One server, several bundles: a default, a canary by share, a shadow that is compared and never sent."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from bundles import photograph, write_bundle
from commands import foveal
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.client.channel import open_channel


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: write_bundle(folder / name, seed=seed) for seed, name in enumerate(("default", "canary", "shadow"))}


@pytest.fixture(scope="module")
def hashes(bundles: dict[str, Path]) -> dict[str, str]:
    return {Bundle.open(path).sha256: name for name, path in bundles.items()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def server(bundles: dict[str, Path], cache: Path) -> Iterator[RunningServer]:
    flags = ("--canary", str(bundles["canary"]), "--canary-share", "0.25", "--shadow", str(bundles["shadow"]))
    with RunningServer(bundles["default"], *flags, env={"FOVEAL_CACHE": str(cache)}) as running:
        yield running


@pytest.fixture(scope="module")
def stub(server: RunningServer) -> Iterator[Any]:
    with open_channel(server.address) as channel:
        yield screening_pb2_grpc.ScreeningStub(channel)


def request(seed: int) -> Any:
    return screening_pb2.GradeRequest(studies=[study_pb2.Study(image=study_pb2.Image(encoded=photograph(seed)))])


def test_the_canary_answers_its_share_and_says_so(stub: Any, hashes: dict[str, str]) -> None:
    answered = Counter(hashes[stub.Grade(request(i)).model.bundle_sha256] for i in range(16))
    assert answered == {"default": 12, "canary": 4}


def test_vectors_come_from_the_default(stub: Any, hashes: dict[str, str]) -> None:
    embed = screening_pb2.EmbedRequest(studies=request(0).studies, kinds=[study_pb2.VECTOR_KIND_JOINT])
    assert {hashes[stub.Embed(embed).model.bundle_sha256] for _ in range(8)} == {"default"}


def test_a_call_may_ask_for_a_model_by_name_or_hash(stub: Any, hashes: dict[str, str]) -> None:
    canary = next(sha256 for sha256, name in hashes.items() if name == "canary")
    for metadata in ((("x-foveal-model", "canary"),), (("x-foveal-version", canary[:12]),)):
        assert {stub.Grade(request(1), metadata=metadata).model.bundle_sha256 for _ in range(4)} == {canary}
    stream = stub.GradeStream(
        iter([screening_pb2.GradeStreamRequest(study=request(1).studies[0])]), metadata=(("x-foveal-model", "canary"),)
    )
    assert [answer.model.bundle_sha256 for answer in stream] == [canary]
    with pytest.raises(grpc.RpcError) as refused:
        stub.Grade(request(1), metadata=(("x-foveal-model", "shadow"),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "canary" in refused.value.details()


def test_the_shadow_is_compared_and_never_sent(
    bundles: dict[str, Path], hashes: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = cache / "shadow"
    own.mkdir(mode=0o700)
    monkeypatch.setenv("FOVEAL_CACHE", str(own))
    with (
        RunningServer(bundles["default"], "--shadow", str(bundles["shadow"]), env={"FOVEAL_CACHE": str(own)}) as server,
        open_channel(server.address) as channel,
    ):
        stub = screening_pb2_grpc.ScreeningStub(channel)
        for i in range(12):
            assert hashes[stub.Grade(request(i)).model.bundle_sha256] == "default"
        time.sleep(1.0)  # what is behind the callers' backs has no sign of its end
    (found,) = json.loads(foveal("shadow", "report", "--json").stdout)["comparisons"]
    assert hashes[found["default_sha256"]] == "default"
    assert hashes[found["shadow_sha256"]] == "shadow"
    assert found["studies"] + found["skipped"] == 12
    assert found["graded"] == found["studies"] >= 6
    words = foveal("shadow", "report").stdout
    assert "quadratic kappa" in words
    assert found["shadow_sha256"][:12] in words


def test_a_canary_that_can_not_be_served_fails_the_start(bundles: dict[str, Path], tmp_path: Path) -> None:
    drifts = write_bundle(tmp_path / "drifts", golden_shift=1.0)
    done = foveal("serve", str(bundles["default"]), "--address", "127.0.0.1:0", "--canary", str(drifts))
    assert done.returncode == 1
    assert "self-test" in done.stderr
