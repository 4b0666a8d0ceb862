"""The console: pages that were built from runtime/console and lie beside this module. They hold nothing of anybody, so they are
served without a token; what they show they ask for as any other caller does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "pages"
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
}
"""Files and media types by path."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every page: it loads and asks this server alone, and no other page may frame it."""


def console_routes() -> Iterator[Route]:
    """A route a page."""
    for path, (name, media_type) in PAGES.items():
        yield Route(path, _page((FOLDER / name).read_bytes(), media_type), methods=["GET"])


def _page(content: bytes, media_type: str) -> Any:
    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)

    return endpoint
