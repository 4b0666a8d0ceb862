"""Triton's Python backend around foveal's graphs. Requests of a batch come as a list, since photographs are not stacked.

Triton's Python takes neither a virtual environment nor PYTHONPATH, so the way to both comes by a variable.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

sys.path[:0] = os.environ["FOVEAL_PEER_PATH"].split(os.pathsep)

import numpy as np
import triton_python_backend_utils as utils

from peers.grader import Grader
from peers.settings import Settings


class TritonPythonModel:
    """What Triton calls; its method names are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graphs in an instance's process."""
        self._grade = Grader(Settings.from_environment().bundle)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request; whose caller has gone is not worked on."""
        waiting = [each for each in requests if not each.is_cancelled()]
        photographs = [bytes(utils.get_input_tensor_by_name(each, "photograph").as_numpy().flat[0]) for each in waiting]
        answers = iter(self._grade(photographs))
        gone = utils.TritonError("cancelled", utils.TritonError.CANCELLED)
        return [
            utils.InferenceResponse([utils.Tensor("probabilities", np.asarray([next(answers)], np.float32))])
            if each in waiting
            else utils.InferenceResponse([], error=gone)
            for each in requests
        ]
