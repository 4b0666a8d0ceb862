"""The training loop and what it needs: recipe, arrays, augmentation, losses, sampling, checkpoints, progress.

Not here: data sets (`data`), the network (`model`), runs (`runs`). Samples and a recipe flow in; weights and history out.
"""
