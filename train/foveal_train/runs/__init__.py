"""A run on disk and what can be asked of it: opening, its data, predictions, calibration, PyTorch's reference answers.

Not here: how it came about (`training`, `pipeline`), how good it is (`evaluation`). A folder flows in; answers flow out.
"""
