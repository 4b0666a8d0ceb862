"""From the PyTorch model to FP32 ONNX graphs: tracing, attention's twins, editing, observers of inner values, names of blocks.

Not here: precision (`quantise`, `tensorrt`). Modules flow in; graphs flow out.
"""
