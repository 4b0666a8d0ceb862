"""Data sets, model, losses, training and evaluation. Imports foveal_runtime, never foveal_export."""

import os

import foveal_runtime as _runtime  # noqa: F401 - first of all: it silences what other libraries would report
from foveal_runtime.engine.cachefolder import cache_root as _cache_root

# Matplotlib keeps a list of fonts where it is first drawn with. Not in `foveal` itself, whose folders are private.
os.environ.setdefault("MPLCONFIGDIR", str(_cache_root().with_name("foveal-matplotlib")))
