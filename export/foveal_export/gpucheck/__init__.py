"""One report of what a machine with a GPU does with bundles and with training."""
