"""The archive of vectors: PostgreSQL with pgvector, embedded in a folder or any server by its URL (DESIGN, section 9).

    archive = await Archive.open("clinic-store", space_id=manifest.space_id, dim=256)
    await archive.upsert([Entry(id="eye-1", vectors={"image": vector_D})])
    result = await archive.search(vector_D, kind="image", k=10, filter=Equals(Column.EYE, "left"))

Needs the `[store]` extra, which is imported when an archive is opened and not before.
"""

from foveal_runtime.store.archive import Archive
from foveal_runtime.store.entry import KINDS, Entry, Facts, Hit, Removed, SearchResult
from foveal_runtime.store.filter import AllOf, AnyOf, AttributeEquals, Column, Equals, Filter, In, Not, Range
from foveal_runtime.store.options import StoreOptions
from foveal_runtime.store.stats import Stats

__all__ = [
    "KINDS",
    "AllOf",
    "AnyOf",
    "Archive",
    "AttributeEquals",
    "Column",
    "Entry",
    "Equals",
    "Facts",
    "Filter",
    "Hit",
    "In",
    "Not",
    "Range",
    "Removed",
    "SearchResult",
    "Stats",
    "StoreOptions",
]
