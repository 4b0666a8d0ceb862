"""The image graph quantised by optimum-onnx and by Olive, each as its documentation does on this processor.

Both drive ONNX Runtime's own quantiser, with other settings. `int8_tools.py quantise` calls this.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]


def with_optimum(graph: Path, pixels_NCHW: Pixels, name: str, target: Path) -> None:
    """Static, min-max, the configuration that optimum-onnx has for this processor."""
    from onnxruntime.quantization import CalibrationMethod
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig, CalibrationConfig

    from foveal_runtime.engine.processor import this_processor

    make = AutoQuantizationConfig.avx2 if this_processor().saturates else AutoQuantizationConfig.avx512_vnni
    plan = make(is_static=True, per_channel=True)
    calibration = CalibrationConfig("photographs", "", "train", len(pixels_NCHW), method=CalibrationMethod.MinMax)
    quantiser = ORTQuantizer(graph)
    with tempfile.TemporaryDirectory() as scratch:
        augmented = str(Path(scratch) / "augmented.onnx")
        photographs = [{name: image} for image in pixels_NCHW]
        ranges = quantiser.fit(photographs, calibration, augmented, operators_to_quantize=plan.operators_to_quantize)
        quantiser.quantize(plan, scratch, file_suffix="int8", calibration_tensors_range=ranges)
        shutil.copy(Path(scratch) / f"{graph.stem}_int8.onnx", target)


def with_olive(graph: Path, pixels_NCHW: Pixels, name: str, target: Path) -> None:
    """The pass OnnxStaticQuantization of a workflow, with its defaults; the calibrator sees the photographs one by one."""
    from olive.data.registry import Registry
    from olive.workflows import run

    class Photographs:
        """As Olive wants a data set: an input and a label by index."""

        def __len__(self) -> int:
            return len(pixels_NCHW)

        def __getitem__(self, place: int) -> tuple[dict[str, Any], int]:
            return {name: pixels_NCHW[place]}, 0

    Registry.register_dataset("photographs")(lambda **_: Photographs())
    with tempfile.TemporaryDirectory() as scratch:
        run(
            {
                "input_model": {"type": "ONNXModel", "model_path": str(graph)},
                "data_configs": [
                    {
                        "name": "photographs",
                        "type": "DataContainer",
                        "load_dataset_config": {"type": "photographs"},
                        "pre_process_data_config": {"type": "skip_pre_process"},
                        "post_process_data_config": {"type": "skip_post_process"},
                        "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": 1}},
                    }
                ],
                "passes": {"quantisation": {"type": "OnnxStaticQuantization", "data_config": "photographs"}},
                "cache_dir": f"{scratch}/cache",
                "output_dir": f"{scratch}/made",
            }
        )
        made = sorted(Path(scratch, "made").rglob("*.onnx"))
        if len(made) != 1:
            raise RuntimeError(f"Olive left {len(made)} graphs, one is wanted; its own words stand above")
        shutil.copy(made[0], target)
