"""What a collection of the archive holds, as a JSON document and as text. Asks nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal_runtime.cli.layout import wrapped

if TYPE_CHECKING:
    from foveal_runtime.store import Stats


def stats_document(found: Stats) -> dict[str, Any]:
    """All that is known of a collection."""
    return {
        "collection": found.collection,
        "space_id": found.space_id,
        "dim": found.dim,
        "entries": found.entries,
        "counts": dict(found.counts),
        "indexed": dict(found.indexed),
        "schema_version": found.schema_version,
        "server_version": found.server_version,
        "bytes_on_disk": found.bytes_on_disk,
    }


def stats_text(found: Stats, width: int) -> str:
    """The same as lines of `name: value`, kinds of vectors in words, for a screen of that many columns; 0 never wraps."""
    lines = []
    for name, value in stats_document(found).items():
        if isinstance(value, dict):
            value = ", ".join(f"{kind} {_word(each)}" for kind, each in value.items()) or "nothing"
        lines.append(wrapped(f"{name}: {value}", width, indent=2))
    return "\n".join(lines) + "\n"


def _word(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
