"""From a training run to a verified bundle: graphs, precisions, parity. Imports foveal_train and foveal_runtime."""
