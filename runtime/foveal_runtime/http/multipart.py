"""Parts of a multipart/form-data body (RFC 7578), in memory. Writes no file, and knows no message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from foveal_runtime.errors import InputError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 1_024
_NOT_ONE = "the body is no multipart/form-data of its content-type's boundary; let a library, or curl -F, write it"
LOGGER = "python_multipart"
"""Of the library; it would write bytes of bodies into the log."""


@dataclass(slots=True)
class Part:
    """One part."""

    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name."""
    content: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """Of the form's field; empty where it has none."""
        _, options = parse_options_header(self.headers.get("content-disposition", ""))
        return options.get(b"name", b"").decode(errors="replace")

    @property
    def media_type(self) -> str:
        """In lower case and without parameters; empty where it says none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The parts of a body, in their order.

    Args:
        body: whole.
        content_type: of the request, with its boundary.

    Raises:
        InputError: it is no such body, ends half way, or has too many parts.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InputError(f"content-type names no boundary; {_NOT_ONE}")
    reading = _Reading()
    try:
        parser = MultipartParser(boundary, reading.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise InputError(_NOT_ONE) from None
    if not reading.ended:
        raise InputError(f"the body ends before its last boundary; {_NOT_ONE}")
    return list(reading.parts())


class _Reading:
    """What a parser has found."""

    def __init__(self) -> None:
        self._found: list[tuple[Part, list[bytes]]] = []
        self._key, self._value = b"", b""
        self.ended = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_key,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._on_data,
            "on_end": self._on_end,
        }

    def parts(self) -> Iterator[Part]:
        for part, pieces in self._found:
            part.content = b"".join(pieces)
            yield part

    def _begin(self) -> None:
        if len(self._found) == MAX_PARTS:
            raise InputError(f"the form has more than {MAX_PARTS} parts; send it in parts")
        self._found.append((Part(), []))

    def _on_key(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._found[-1][0].headers[self._key.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._key, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._found[-1][1].append(data[start:end])

    def _on_end(self) -> None:
        self.ended = True
