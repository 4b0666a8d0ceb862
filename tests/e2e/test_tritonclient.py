"""NVIDIA's tritonclient, unmodified and in an environment of its own, grades and embeds over gRPC and HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import photograph, write_bundle
from servers import RunningServer

from foveal_runtime.study.study import Study

pytestmark = pytest.mark.slow  # installs 190 MB; tests/runtime/rpc/test_inference.py speaks the protocol with our own stubs
SCRIPT = """
import json, sys
import numpy as np
kind, address, *paths = sys.argv[1:]
if kind == "grpc":
    import tritonclient.grpc as triton
else:
    import tritonclient.http as triton
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("foveal")
metadata = client.get_model_metadata("foveal")
names = [each.name for each in metadata.outputs] if kind == "grpc" else [each["name"] for each in metadata["outputs"]]
images = np.array([open(path, "rb").read() for path in paths] + [b""], dtype=np.object_)
notes = np.array([b""] * len(paths) + [b"haze"], dtype=np.object_)
inputs = [triton.InferInput("image", images.shape, "BYTES"), triton.InferInput("note", notes.shape, "BYTES")]
inputs[0].set_data_from_numpy(images)
inputs[1].set_data_from_numpy(notes)
answer = client.infer("foveal", inputs, request_id="visit-7")
probabilities = answer.as_numpy("icdr_probabilities")
wanted = [triton.InferRequestedOutput("vector_joint"), triton.InferRequestedOutput("verdict")]
vectors = client.infer("foveal", inputs, outputs=wanted)
try:
    client.infer("another", inputs)
    refused = ""
except triton.InferenceServerException as error:
    refused = error.message()
print(json.dumps({
    "names": names,
    "verdict": [each.decode() for each in answer.as_numpy("verdict")],
    "icdr": probabilities.tolist(),
    "joint": vectors.as_numpy("vector_joint").tolist(),
    "refused": refused,
}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment that holds tritonclient and not foveal."""
    folder = tmp_path_factory.mktemp("triton") / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    words = [str(folder / "bin" / "pip"), "install", "--quiet", "--no-compile", "tritonclient[grpc,http]"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        pytest.skip(f"tritonclient can't be installed here: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "python"


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_tritonclient_gets_the_grades_and_vectors_that_foveals_client_gets(
    python: Path, bundle_path: Path, tmp_path: Path, kind: str
) -> None:
    paths = []
    for i in range(2):
        paths.append(tmp_path / f"{i}.jpg")
        paths[-1].write_bytes(photograph(i))
    (tmp_path / "drive.py").write_text(SCRIPT)
    with RunningServer(bundle_path, "--http", "127.0.0.1:0") as server, server.client() as client:
        address = server.address if kind == "grpc" else server.http.removeprefix("http://")
        words = [str(python), "-I", str(tmp_path / "drive.py"), kind, address, *map(str, paths)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        studies = [*(Study(image=photograph(i)) for i in range(2)), Study(note="haze")]
        graded, embedded = client.grade(studies).results, client.embed(studies).results
    got = json.loads(done.stdout)
    assert {"verdict", "referral", "icdr_probabilities", "vector_joint"} <= set(got["names"])
    assert got["verdict"] == ["graded"] * 3
    for i, result in enumerate(graded):
        icdr = next(head for head in result.grade.graded.heads if head.head == "icdr")
        np.testing.assert_allclose(got["icdr"][i], [*(each.probability for each in icdr.classes), 0.0], atol=1e-6)
        np.testing.assert_allclose(got["joint"][i], embedded[i].embedding.vectors[0].values, atol=1e-6)
    assert "this server has foveal" in got["refused"]


PARSE = """
import sys
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
for path in sys.argv[1:]:
    config = text_format.Parse(open(path).read(), model_config_pb2.ModelConfig())
    print(config.name, config.backend or config.platform, len(config.input), len(config.output))
"""


def test_tritons_own_types_read_every_configuration_of_a_repository(python: Path, tmp_path: Path) -> None:
    from foveal_export.triton import write_repository

    write_repository(write_bundle(tmp_path / "b"), tmp_path / "repository")
    paths = sorted(map(str, (tmp_path / "repository").glob("*/config.pbtxt")))
    done = subprocess.run([str(python), "-c", PARSE, *paths], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "foveal python 9 9",
        "foveal_fusion onnxruntime_onnx 2 4",
        "foveal_image onnxruntime_onnx 1 1",
        "foveal_structured onnxruntime_onnx 1 1",
        "foveal_text onnxruntime_onnx 2 1",
    ]
