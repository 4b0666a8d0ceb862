"""What a caller may be. Which calls a role allows stands in `rpc/permissions`."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A part of the interface. None includes another: a caller that does two things has two roles."""

    GRADE = "grade"
    """Studies to grades and vectors; nothing is stored, and nothing that is stored is read."""
    SEARCH = "search"
    """Read what the archive holds."""
    WRITE = "write"
    """Store, change and erase entries."""
    ADMIN = "admin"
    """Look after the server. Sees no study and no entry."""
