"""Every curve of a training: as TensorBoard scalars while it runs, as one SVG at its end. Measures nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveal_runtime.errors import ConfigError

FOLDER = "tensorboard"
FILE = "curves.svg"


class Scalars:
    """Writes the rows of a history as TensorBoard scalars; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Args:
            folder: for the event files; a resumed training adds to those that are there.

        Raises:
            ConfigError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError("TensorBoard is not installed; pip install 'foveal[train]', or leave --tensorboard out") from None
        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> Scalars:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, row: dict[str, Any]) -> None:
        """One epoch: losses of both parts, loss weights, learning rates."""
        for tag, value in _tags(row).items():
            self._writer.add_scalar(tag, value, row["epoch"])
        self._writer.flush()


def _tags(row: dict[str, Any]) -> dict[str, float]:
    tags = {f"{name}/{part}": value for part in ("train", "validation") for name, value in row.get(part, {}).items()}
    tags |= {f"weight/{name}": value for name, value in row["weights"].items()}
    return tags | {f"learning rate/group {i}": rate for i, rate in enumerate(row["learning_rates"])}


def curves(history: Sequence[dict[str, Any]], best_epoch: int) -> bytes:
    """Losses, their weights and learning rates over epochs, as SVG; the dotted line is the epoch that was kept."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in history:
        for tag, value in _tags(row).items():
            # A loss has a panel with both parts; all weights share one, and so do all rates.
            title, _, label = tag.partition("/")
            panels.setdefault(title, {}).setdefault(label, []).append((row["epoch"], value))
    columns = 3
    rows = max(1, -(-len(panels) // columns))
    with mpl.rc_context({"svg.hashsalt": "foveal", "svg.fonttype": "path", "font.size": 8}):
        figure = Figure(figsize=(3.2 * columns, 2.3 * rows), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, lines) in zip(every, panels.items(), strict=False):
            for label, points in lines.items():
                axes.plot(
                    *zip(*points, strict=True), label=label.replace("_", " "), lw=1.2, marker="." if len(points) < 3 else ""
                )
            axes.axvline(best_epoch, color="#8a8f98", lw=0.8, ls=":")
            axes.set_title(title.replace("_", " "), fontsize=9)
            axes.legend(fontsize=7, frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in every[len(panels) :]:
            axes.set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
