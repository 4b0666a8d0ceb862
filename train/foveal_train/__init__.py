"""Data sets, model, losses, training and evaluation. Imports foveal_runtime, never foveal_export."""

import foveal_runtime as _runtime  # noqa: F401 - first of all: it silences what other libraries would report
