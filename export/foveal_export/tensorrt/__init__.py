"""Graphs for TensorRT: strongly typed FP16 and explicit Q/DQ INT8, shapes, which operators it knows.

Not here: INT8 itself (`quantise`). FP32 graphs and a plan flow in; graphs that TensorRT's parser reads flow out.
"""
