"""An archive through Ray Data: units to the nodes, rows back, each input's row kept once.

Nodes hold a bundle each (a pool of actors); who runs the command keeps the rows (`ledger`). A node that is lost is Ray's to
notice, and what it had in work goes to another. What Ray should lose all the same is found missing at the end, and asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.cluster.embedder import UNITS_AHEAD, Embedder, EmbedPlan, retryable
from foveal_runtime.cluster.ledger import Ledger, Row, columns
from foveal_runtime.cluster.units import inputs_of
from foveal_runtime.errors import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Container

PASSES = 3
"""Over what has no row: the second and third are for inputs whose worker was lost each time, or which Ray lost."""
PART_ROWS = 256
"""A part is written when so many rows wait, and at the end."""
_QUIET = ("ray.data", "ray")
Units = Callable[["Container[str]"], list[str]]
"""The units of all inputs whose sources are not among those given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What became of an archive."""

    embedded: int
    """Of this run."""
    failed: int
    """At fault, of this run."""
    before: int
    """Were done by an earlier run."""
    unanswered: int
    """Have no row: workers were lost over them, or nodes; another run asks for them again."""


class EmbedUnits:
    """The class that Ray Data makes actors of: a batch is one unit."""

    def __init__(self, plan: EmbedPlan) -> None:
        self._embedder, self._kinds = Embedder(plan), [kind.value for kind in plan.kinds]

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[Any]:
        """Rows of a unit, as Arrow's tables."""
        import pyarrow as pa

        for unit in batch["unit"]:
            rows = list(self._embedder.rows(str(unit)))
            names = columns(self._kinds)
            yield pa.Table.from_pylist([{name: row.get(name) for name in names.names} for row in rows], schema=names)


def nodes_of(ray: Any) -> list[float]:
    """Cores of each node that is up."""
    return [
        node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1
    ]


def embed(
    ray: Any,
    plan: EmbedPlan,
    units: Units,
    ledger: Ledger,
    *,
    progress: Callable[[int], None] = lambda rows: None,
    kept: Callable[[Path], None] = lambda part: None,
) -> Done:
    """Have every input of an archive embedded that the ledger lacks.

    Args:
        ray: of a cluster that is connected.
        plan: of the work; `cpus` is what a node gives to it.
        units: of the inputs that are not done.
        ledger: entered; gets a row for each input.
        progress: told how many rows came.
        kept: told each part of vectors once it is durable.

    Raises:
        CheckFailed: the bundle can't be loaded on the nodes.
    """
    before, failed_before = len(ledger.done), ledger.failed
    for _ in range(PASSES):
        todo = units(ledger.done)
        if not todo:
            break
        for row in _rows(ray, plan, todo):
            if retryable(row):
                continue
            ledger.add(row)
            progress(1)
            if ledger.waiting >= PART_ROWS and (part := ledger.commit()) is not None:
                kept(part)
    if ledger.waiting and (part := ledger.commit()) is not None:
        kept(part)
    failed = ledger.failed - failed_before
    left = sum(inputs_of(unit) for unit in units(ledger.done))
    return Done(embedded=len(ledger.done) - before - failed, failed=failed, before=before, unanswered=left)


def _rows(ray: Any, plan: EmbedPlan, units: list[str]) -> Iterator[Row]:
    """A row for each input of the units, in the order in which they are ready."""
    import ray.data as data

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    nodes = max(1, len(nodes_of(ray)))
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = nodes  # a node may be lost while it loads the bundle
    made = data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units)).map_batches(
        EmbedUnits,
        fn_constructor_args=(plan,),
        batch_size=1,
        num_cpus=plan.cpus,
        # Its calls are handed to threads: while one reads or sends, the workers have another's studies.
        compute=data.ActorPoolStrategy(
            min_size=1,
            max_size=nodes,
            initial_size=nodes,
            max_concurrent_calls_per_actor=UNITS_AHEAD,
            enable_true_multi_threading=True,
        ),
    )
    try:
        for batch in made.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from batch.to_pylist()
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if "Error" in line]
        raise CheckFailed(
            f"the archive can't be embedded on this cluster: {(lines or [type(error).__name__])[-1][:500]}"
        ) from None
