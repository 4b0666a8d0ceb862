"""`foveal train`: the command line of training. Heavy imports happen inside the command."""

from __future__ import annotations

from foveal_train.cli.making import Asked, make


def train(*, asked: Asked | None = None) -> None:
    """Train a model and write a run.

    Recipe `base` is the paper's model: 202.0M parameters by our count, 36.9M of them trained, beside the 187M that the paper
    states (its two encoders alone have more), and 13.5M of decoders that exist in training alone. The count of the run at
    hand is printed at its end.

    For example:

        foveal train --recipe edge --data brset:data/brset

        foveal train --recipe edge --data "idrid:data/idrid" --out runs/idrid --set optimiser.epochs=8

        foveal train --recipe base --data brset:data/brset --set image.weights=weights/vit_base.safetensors

        foveal train --recipe edge --data brset:data/brset --heads icdr,edema,drusen

        foveal train --resume --out runs/edge

        torchrun --nproc-per-node 4 -m foveal_runtime.cli.main train --recipe base --data brset:data/brset --out runs/base
    """
    make(asked or Asked())
