"""One peer of `retrieval_peers.py` in a process and an environment of its own: reads requests, answers them. Needs NumPy alone.

    PYTHON serve.py FOLDER_OF_PEER VARIANT DATA_FOLDER DIM < requests > answers

Requests and answers are JSON, one a line; vectors and results are .npy files. `do` is one of

- `open`: answers version, settings and efforts;
- `load` (vectors, facts, first, count, batch, save): adds rows in batches of so many and answers `acknowledged`, the number of
  rows so far, after each; with `save` each batch is saved by itself where the library saves by hand. Seconds are of the peer's
  own calls;
- `build`: saves and indexes, in seconds;
- `search` (queries, k, effort, where, most_s, out): asks one query after the other until they end or so many seconds have
  passed (five at least), writes ids [Q, k] of those asked to `out` (-1 where fewer came back) and answers the milliseconds of
  each;
- `ids` (out): every id that is stored;
- `close`.

All answers that end a request have `done`; one that failed has `error`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_LEAST = 5
"""Queries that are asked however slow they are."""


def main() -> None:
    """Answer until the requests end."""
    sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    # Libraries print; only answers may stand on the pipe.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    peer, folder, dim = loaded(Path(sys.argv[1]))(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer(done=request["do"], **WORK[request["do"]](peer, folder=folder, dim=dim, answer=answer, **request))
        except Exception as error:  # noqa: BLE001 - of whatever library; the caller decides
            answer(done=request["do"], error=f"{type(error).__name__}: {error}"[:500])
        if request["do"] == "close":
            return


def loaded(folder: Path) -> Any:
    """The class `Peer` of a folder's peer.py."""
    spec = importlib.util.spec_from_file_location(f"peer_{folder.name}", folder / "peer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Peer


def opened(peer: Any, *, folder: Path, dim: int, **_: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    peer.open(folder, dim)
    seconds = time.perf_counter() - started
    told = {name: getattr(peer, name) for name in ("version", "settings", "efforts", "durable")}
    return {"seconds": seconds, **told}


def load(
    peer: Any, *, vectors: str, facts: str, first: int, count: int, batch: int, save: bool, answer: Any, **_: Any
) -> dict[str, Any]:
    vectors_ND, facts_N2 = (np.load(name, mmap_mode="r") for name in (vectors, facts))
    spent = 0.0
    for start in range(first, first + count, batch):
        end = min(start + batch, first + count)
        rows = np.ascontiguousarray(vectors_ND[start:end]), np.ascontiguousarray(facts_N2[start:end])
        started = time.perf_counter()
        peer.add(start, *rows)
        if save:
            peer.save()
        spent += time.perf_counter() - started
        answer(acknowledged=end)
    return {"seconds": spent}


def build(peer: Any, **_: Any) -> dict[str, Any]:
    started = time.perf_counter()
    peer.build()
    peer.save()
    return {"seconds": time.perf_counter() - started}


def search(
    peer: Any, *, queries: str, k: int, effort: int, where: dict[str, int], most_s: float, out: str, **_: Any
) -> dict[str, Any]:
    queries_QD = np.load(queries)
    found_QK = np.full((len(queries_QD), k), -1, np.int64)
    ms = []
    peer.search(queries_QD[0], k, effort, where)  # a new effort may open a connection
    end = time.perf_counter() + most_s
    for query_D, row_K in zip(queries_QD, found_QK, strict=True):
        started = time.perf_counter()
        found = peer.search(query_D, k, effort, where)
        ms.append((time.perf_counter() - started) * 1e3)
        row_K[: len(found)] = found
        if len(ms) >= _LEAST and time.perf_counter() > end:
            break
    np.save(out, found_QK[: len(ms)])
    return {"ms": ms}


def ids(peer: Any, *, out: str, **_: Any) -> dict[str, Any]:
    np.save(out, np.asarray(peer.ids(), np.int64))
    return {}


def close(peer: Any, **_: Any) -> dict[str, Any]:
    peer.close()
    return {}


WORK: dict[str, Callable[..., dict[str, Any]]] = {
    "open": opened,
    "load": load,
    "build": build,
    "search": search,
    "ids": ids,
    "close": close,
}

if __name__ == "__main__":
    main()
