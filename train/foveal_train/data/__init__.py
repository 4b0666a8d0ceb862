"""Data sets: one reader a kind, one form (`Sample`) for all, split by patient."""

from foveal_train.data.sample import Dataset, Labels, Problem, Sample
from foveal_train.data.source import Kind, load
from foveal_train.data.split import Split, patient_groups, split_patients

__all__ = ["Dataset", "Kind", "Labels", "Problem", "Sample", "Split", "load", "patient_groups", "split_patients"]
