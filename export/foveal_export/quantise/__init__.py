"""Lower precision for ONNX Runtime: FP16, INT8 with calibration, SmoothQuant and GPTQ, the plan, proof against saturation.

Not here: whether the result is good enough (`parity`). FP32 graphs and feeds flow in; graphs and plans flow out.
"""
