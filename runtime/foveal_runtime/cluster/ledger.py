"""What has become of an archive's inputs, in a folder: rows of vectors and grades, and of failures, as Parquet. Embeds nothing.

    OUT/archive.json            what was asked, by which bundle; work is taken up again by the same alone
    OUT/vectors/part-*.parquet  a row an input: source, id (SHA-256 of the photograph), vectors, grades
    OUT/failures/part-*.parquet a row an input that is at fault: source, status, reason, message

Only one process writes, whole parts at a time, each under another name first: a part is there or it is not. An input whose
source stands in a part is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foveal_runtime.durable import sync_folder
from foveal_runtime.errors import ConfigError, InputError

Row = dict[str, Any]
"""Of one input, by column."""
VECTORS, FAILURES = "vectors", "failures"
_ABOUT = "archive.json"
_OF_FAILURES = frozenset({"source", "status", "reason", "message", "facts"})


def columns(vectors: Sequence[str]) -> Any:
    """Arrow's schema of rows as they come from the nodes.

    Args:
        vectors: kinds of vectors.
    """
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("source", text), ("id", text), ("status", text), ("reason", text), ("message", text),
            *((f"{each}_vector", pa.list_(pa.float32())) for each in vectors),
            ("verdict", text), ("icdr", pa.int8()), ("referable_probability", pa.float64()), ("grade", text), ("facts", text),
        ]
    )  # fmt: skip


class Ledger:
    """`with Ledger(folder, about, kinds) as ledger:` for who writes."""

    def __init__(self, folder: Path, about: Mapping[str, Any], kinds: Sequence[str], *, facts: bool = False) -> None:
        """Args:
        folder: made where it is missing, for its owner alone.
        about: what is asked; a folder of something else is refused.
        kinds: of vectors.
        facts: keep what an index keeps beside vectors.
        """
        self.folder = folder
        self._about, self._kinds, self._facts = dict(about), tuple(kinds), facts
        self.done: set[str] = set()
        """Sources that stand in a part."""
        self.failed = 0
        """Of them, in parts of failures."""
        self._waiting: list[Row] = []
        self._number = 0

    def __enter__(self) -> Ledger:
        """Take up what is there.

        Raises:
            ConfigError: the folder holds other work, or another process writes it.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(f"another process writes {self.folder}; wait for it, or name another folder with --out") from None
        try:
            self._take_up()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def _take_up(self) -> None:
        about = self.folder / _ABOUT
        if about.exists():
            found = json.loads(about.read_text(encoding="utf-8"))
            names = {*found, *self._about}
            if changed := sorted(name for name in names if found.get(name) != self._about.get(name)):
                raise ConfigError(
                    f"{self.folder} holds vectors made otherwise ({', '.join(changed)}); name another folder with --out"
                )
        elif any(self.folder.glob("*/part-*")):
            raise ConfigError(f"{self.folder} holds parts without {_ABOUT}; name another folder with --out")
        else:
            _write(about, lambda path: path.write_text(json.dumps(self._about, indent=1) + "\n", encoding="utf-8"))
        for kind in (VECTORS, FAILURES):
            (self.folder / kind).mkdir(mode=0o700, exist_ok=True)
            for part in self.parts(kind):
                sources = _sources(part)
                self.done.update(sources)
                self.failed += len(sources) if kind == FAILURES else 0
                self._number = max(self._number, int(part.stem.removeprefix("part-")) + 1)

    def parts(self, kind: str) -> list[Path]:
        """Parts that are there, in the order in which they were written."""
        return sorted((self.folder / kind).glob("part-*.parquet"))

    def add(self, row: Row) -> None:
        """Keep a row for the next part; one of a source that is done is dropped."""
        if row["source"] not in self.done:
            self.done.add(row["source"])
            self._waiting.append(row)

    @property
    def waiting(self) -> int:
        """Rows that stand in no part."""
        return len(self._waiting)

    def commit(self) -> Path | None:
        """Write the rows that wait, durably. The part of vectors among them; None where there is none."""
        rows, self._waiting = self._waiting, []
        # Of two parts the second may be missing after a crash; no source stands in both.
        failures = [row for row in rows if row["status"] != "OK"]
        self._part(FAILURES, failures)
        made = self._part(VECTORS, [row for row in rows if row["status"] == "OK"])
        self.failed += len(failures)
        self._number += 1
        return made

    def _part(self, kind: str, rows: Sequence[Row]) -> Path | None:
        if not rows:
            return None
        import pyarrow as pa
        from pyarrow import parquet

        every = columns(self._kinds)
        wanted = _OF_FAILURES if kind == FAILURES else {*every.names} - {"status", "reason"}
        kept = pa.schema([each for each in every if each.name in wanted and (self._facts or each.name != "facts")])
        table = pa.Table.from_pylist([{name: row.get(name) for name in kept.names} for row in rows], schema=kept)
        path = self.folder / kind / f"part-{self._number:06d}.parquet"
        _write(path, lambda part: parquet.write_table(table, part))
        return path

    def __exit__(self, *exception: object) -> None:
        """Write what waits, and let others write."""
        try:
            if self._waiting:
                self.commit()
        finally:
            os.close(self._lock)


def rows_of(part: Path) -> Iterator[Row]:
    """The rows of a part."""
    from pyarrow import parquet

    yield from parquet.read_table(part).to_pylist()


def _sources(part: Path) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return list(parquet.read_table(part, columns=["source"]).column("source").to_pylist())
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{part} can't be read ({type(error).__name__}); delete it, and its inputs are embedded again"
        ) from None


def _write(path: Path, write: Any) -> None:
    """A file that is there whole or not at all, and stays."""
    half = path.with_name(f".{path.name}.half")
    with contextlib.suppress(FileNotFoundError):
        half.unlink()
    write(half)
    with half.open("rb") as written:
        os.fsync(written.fileno())
    half.replace(path)
    sync_folder(path.parent)
