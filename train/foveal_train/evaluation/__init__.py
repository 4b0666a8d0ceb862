"""Evaluation that a clinician and a reviewer would both trust: figures with intervals, a table, a report."""

from foveal_train.evaluation.evaluate import evaluate_arrays
from foveal_train.evaluation.table import table

__all__ = ["evaluate_arrays", "table"]
