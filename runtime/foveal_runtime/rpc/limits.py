"""Limits of the contract that are no setting: what a page of entries may hold. `GetModel` tells them."""

from __future__ import annotations

MAX_PAGE_ENTRIES = 1_000
"""Entries of one page of `List` or `Get`."""
LIST_PAGE_ENTRIES = 100
"""Of `List` when the caller names no number."""
MAX_PAGE_BYTES = 3 << 20
"""Of one page: gRPC clients receive 4 MB unless told otherwise."""
