"""Pages of entries: their tokens, and how much goes into one. Reads nothing itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from foveal_runtime.errors import StudyError
from foveal_runtime.rpc.limits import MAX_PAGE_BYTES, MAX_PAGE_ENTRIES


def page_size(asked: int, default: int) -> int:
    """Entries of a page.

    Raises:
        StudyError: more than a page may hold.
    """
    if asked > MAX_PAGE_ENTRIES:
        raise StudyError(
            f"page_size is {asked}, at most {MAX_PAGE_ENTRIES} are allowed; ask for smaller pages", field="page_size"
        )
    return asked or default


def token_of(place: str | int, request: Any) -> str:
    """The token of the page that begins after a place.

    Args:
        place: an id, or how many ids were dealt with.
        request: of the page before; the next one has to ask for the same.
    """
    return base64.urlsafe_b64encode(json.dumps([place, _asked(request)]).encode()).decode()


def place_of(request: Any, kind: type) -> Any:
    """Where the page of a request begins; None for the first one.

    Raises:
        StudyError: the token is damaged, or of a request that asked for something else.
    """
    if not request.page_token:
        return None
    try:
        place, asked = json.loads(base64.urlsafe_b64decode(request.page_token.encode()))
    except (ValueError, TypeError, binascii.Error):
        place, asked = None, ""
    if type(place) is not kind:
        raise StudyError("page_token is none that this server gave; begin again without one", field="page_token")
    if asked != _asked(request):
        raise StudyError(
            "page_token belongs to a request that asked for something else; ask for the same, or begin again",
            field="page_token",
        )
    return place


def _asked(request: Any) -> str:
    """A short name of what a request asks for, apart from the page."""
    same = type(request)()
    same.CopyFrom(request)
    same.page_token, same.page_size = "", 0
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()[:16]


async def filled(entries: AsyncIterator[Any], most: int) -> tuple[list[Any], bool]:
    """Messages for one page: as many as it holds, by number and by bytes, at least one; and whether any was left.

    Args:
        entries: their messages, in order; read no further than needed.
        most: entries of the page.
    """
    page: list[Any] = []
    size = 0
    async for entry in entries:
        size += entry.ByteSize()
        if page and (len(page) == most or size > MAX_PAGE_BYTES):
            return page, True
        page.append(entry)
    return page, False
