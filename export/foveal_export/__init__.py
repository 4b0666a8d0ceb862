"""From a training run to a verified bundle: graphs, precisions, parity. Imports foveal_train and foveal_runtime."""

import foveal_runtime as _runtime  # noqa: F401 - first of all: it silences what other libraries would report
