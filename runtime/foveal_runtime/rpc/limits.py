"""Limits of the contract that are no setting: of pages, and of what one request may repeat. `GetModel` tells them."""

from __future__ import annotations

MAX_KINDS = 16
"""Vector kinds named in one request; there are four."""
MAX_VECTORS = 16
"""Vectors of one entry, one a kind."""
MAX_VALUES = 4_096
"""Components of one vector."""
MAX_TENSORS = 32
"""Tensors, and parameters of one, of a request of the Open Inference Protocol."""
MAX_AXES = 8
"""Of a tensor."""
MAX_FILTER_NODES = 1_000
"""Nodes of one filter, conditions and lists alike."""
MAX_FACT_VALUES = 1_000
"""Values of one condition on a fact."""
MAX_PAGE_ENTRIES = 1_000
"""Entries of one page of `List` or `Get`."""
LIST_PAGE_ENTRIES = 100
"""Of `List` when the caller names no number."""
MAX_PAGE_BYTES = 3 << 20
"""Of one page: gRPC clients receive 4 MB unless told otherwise."""
