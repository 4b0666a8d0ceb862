"""Studies that fail alone: one that can't be prepared, or breaks the graphs, gets an error and costs its neighbours nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from foveal_runtime.errors import FovealError, ImageError, PoisonError

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask, Outcome, Prepared
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.study.study import Study


def prepare_alone(
    engine: Engine, study: Study, decoding: Callable[[int, int], AbstractContextManager[None]] | None = None
) -> Prepared | FovealError:
    """The prepared study, or what is wrong with it; raises nothing that its bytes can cause."""
    try:
        return engine.prepare(study) if decoding is None else engine.prepare(study, decoding)
    except FovealError as error:
        return error
    except MemoryError:
        return ImageError("image needs more memory to decode than this server has; send it scaled down")
    except Exception as error:  # noqa: BLE001 - decoders meet hostile bytes; a worker must not die of what they raise
        return PoisonError(f"study can't be prepared ({type(error).__name__}); send an intact photograph")


def run_alone(engine: Engine, prepared: Sequence[tuple[Prepared, Ask]]) -> list[Outcome | FovealError]:
    """An outcome or an error for each prepared study: what fails together is run again in halves."""
    if not prepared:
        return []
    try:
        return [*engine.run_each([item for item, _ in prepared], [ask for _, ask in prepared])]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base but Exception
        if len(prepared) == 1:
            if isinstance(error, FovealError):
                return [error]
            return [PoisonError(f"the model's graphs fail on this study ({type(error).__name__}); leave it out")]
    middle = len(prepared) // 2
    return run_alone(engine, prepared[:middle]) + run_alone(engine, prepared[middle:])
