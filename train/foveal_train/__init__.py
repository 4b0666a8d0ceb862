"""Data sets, model, losses, training and evaluation. Imports foveal_runtime, never foveal_export."""
