"""The Node example grades through a real server; skipped by name where Node or its packages are absent."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer

from foveal_runtime._proto import screening_pb2
from foveal_runtime.study.study import Study

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "node"


def test_the_node_example_gets_the_same_grade_as_python(bundle_path: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (EXAMPLE / "node_modules" / "@grpc" / "grpc-js").is_dir():
        pytest.skip("packages of examples/node are not installed: npm install there")
    good, bad = tmp_path / "a.jpg", tmp_path / "b.jpg"
    good.write_bytes(photograph(1))
    bad.write_bytes(b"junk")
    with RunningServer(bundle_path) as server, server.client() as client:
        command = [node, str(EXAMPLE / "grade.js"), server.address, str(good), str(bad)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        graded, refused = json.loads(done.stdout)
        (expected,) = client.grade([Study(image=good.read_bytes())]).results
    assert graded["verdict"] == "graded"
    assert graded["icdr"] == screening_pb2.IcdrGrade.Name(expected.grade.graded.icdr)
    assert graded["probability"] == pytest.approx(expected.grade.graded.referral_basis.probability, abs=1e-6)
    assert refused["code"] == 3
    assert "no photograph" in refused["message"]
