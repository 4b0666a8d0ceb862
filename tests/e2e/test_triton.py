"""NVIDIA Triton itself, from the package of PyTriton, over a repository that `foveal export --layout triton` writes.

PyTriton brings Triton's server and its Python backend, and no other: the graphs, which Triton would run by its ONNX backend,
are run here by ONNX Runtime in models of the Python backend. What is tested is Triton's reading of the configurations, and the
model that decodes, joins and grades, calling the others inside Triton.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from bundles import photograph, write_bundle
from kserve import arrays, request_of
from servers import RunningServer

from foveal_export.triton import write_repository
from foveal_runtime._proto import open_inference_grpc_pb2 as inference
from foveal_runtime._proto import open_inference_grpc_pb2_grpc as inference_grpc
from foveal_runtime.cli.local_server import free_address
from foveal_runtime.client.channel import open_channel

pytestmark = pytest.mark.slow  # installs 400 MB
ROOT = Path(__file__).resolve().parents[2]
GRAPH = """
import onnxruntime
from pathlib import Path
import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args):
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path))

    def execute(self, requests):
        names = [each.name for each in self.session.get_outputs()]
        responses = []
        for request in requests:
            inputs = [each.name for each in self.session.get_inputs()]
            feeds = {name: utils.get_input_tensor_by_name(request, name).as_numpy() for name in inputs}
            found = self.session.run(names, feeds)
            responses.append(utils.InferenceResponse([utils.Tensor(*pair) for pair in zip(names, found)]))
        return responses
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With PyTriton's binaries, foveal's runtime, and the NumPy that Triton's Python backend was built with."""
    folder = tmp_path_factory.mktemp("triton") / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--no-compile"]
    done = subprocess.run([*pip, "--no-deps", "nvidia-pytriton"], capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        pytest.skip(f"PyTriton can't be installed here: {done.stderr.strip().splitlines()[-1]}")
    subprocess.run([*pip, f"{ROOT}[cpu]", "numpy<2"], check=True, timeout=900)
    return folder


@pytest.fixture(scope="module")
def triton(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Triton's gRPC address, and the bundle that it serves."""
    folder = tmp_path_factory.mktemp("served")
    bundle, repository = write_bundle(folder / "b"), folder / "repository"
    write_repository(bundle, repository)
    (site,) = (environment / "lib").glob("python3.*/site-packages")
    # Triton's Python takes neither a virtual environment nor PYTHONPATH.
    found_there = f"import sys\nsys.path.insert(0, {str(site)!r})\n"
    entry = repository / "foveal" / "1" / "model.py"
    entry.write_text(found_there + entry.read_text())
    for graph in repository.glob("foveal_*"):
        (graph / "1" / "model.py").write_text(found_there + GRAPH)
        config = (graph / "config.pbtxt").read_text().replace('platform: "onnxruntime_onnx"', 'backend: "python"')
        (graph / "config.pbtxt").write_text(config)
    home = site / "pytriton" / "tritonserver"
    stub = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(home / "python_backend_stubs" / stub / "triton_python_backend_stub", home / "backends" / "python")
    for program in (home / "bin" / "tritonserver", home / "backends" / "python" / "triton_python_backend_stub"):
        program.chmod(0o755)
    address = free_address()
    host, _, port = address.rpartition(":")
    command = [str(home / "bin" / "tritonserver"), f"--model-repository={repository}", "--disable-auto-complete-config"]
    command += [f"--backend-directory={home / 'backends'}", f"--grpc-address={host}", f"--grpc-port={port}"]
    command += ["--allow-http=false", "--allow-metrics=false"]
    log = (folder / "triton.log").open("w")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    try:
        with open_channel(address) as channel:
            wait_until_ready(inference_grpc.GRPCInferenceServiceStub(channel), server, folder / "triton.log")
        yield address, bundle
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until_ready(stub: Any, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-4000:]
        try:
            if stub.ServerReady(inference.ServerReadyRequest(), timeout=5).ready:
                return
        except grpc.RpcError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-4000:])


def test_triton_answers_as_foveals_own_server_does(triton: tuple[str, Path]) -> None:
    address, bundle = triton
    inputs = {
        "image": [photograph(1), b"", b"no photograph", photograph(2)],
        "note": [b"", b"drusen", b"", b"haze"],
        "age_years": [61.0, float("nan"), float("nan"), 40.0],
    }
    names = ("verdict", "reason", "referral", "icdr_probabilities", "sdrg_probabilities", "vector_joint", "vector_image")
    request = request_of(names, raw=True, sex=[b"female", b"", b"", b""], **inputs)
    with open_channel(address) as channel:
        got = arrays(inference_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=120))
    with RunningServer(bundle) as server, open_channel(server.address) as channel:
        expected = arrays(inference_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60))
    assert got["verdict"] == expected["verdict"] == [b"graded", b"graded", b"error", b"graded"]
    assert (got["reason"], got["referral"]) == (expected["reason"], expected["referral"])
    for name in names[3:]:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5, err_msg=name)


def test_what_no_model_takes_is_refused_in_foveals_words(triton: tuple[str, Path]) -> None:
    with open_channel(triton[0]) as channel, pytest.raises(grpc.RpcError) as refused:
        inference_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
            request_of(("verdict",), raw=True, note=[b"macula"], sex=[b"Miller"]), timeout=60
        )
    assert "none of male, female" in refused.value.details()
    assert "Miller" not in refused.value.details()
