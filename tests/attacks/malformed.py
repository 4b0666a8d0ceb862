"""Requests that no client would write, for every call, derived from the descriptors: wrong as bytes, or as values.

`malformed(count)` gives so many of them, one kind after the other; a seed gives the same again.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bundles import photograph
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from foveal_runtime._proto import admin_pb2, archive_pb2, screening_pb2

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
MODULES = (screening_pb2, archive_pb2, admin_pb2)
METHODS: tuple[MethodDescriptor, ...] = tuple(
    method for module in MODULES for service in module.DESCRIPTOR.services_by_name.values() for method in service.methods
)
DEAR = ("Reload", "SelfTest")
"""Their requests are empty messages, so that whatever can be parsed does the work: those get only what can't be."""
FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1), FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1), FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}  # fmt: skip
_DEEPEST = 6
"""Messages in each other of a request that is filled in; a filter holds filters."""


@dataclass(frozen=True)
class Malformed:
    """One request."""

    method: MethodDescriptor
    kind: str
    messages: tuple[bytes, ...]
    """Of the call; one, but for calls that are wrong by that."""

    @property
    def path(self) -> str:
        """Of the call, as gRPC names it."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def varint(value: int) -> bytes:
    """As protobuf writes it."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tag(number: int, wire_type: int) -> bytes:
    """The beginning of a field."""
    return varint(number << 3 | wire_type)


def sized(number: int, content: bytes, *, claimed: int | None = None) -> bytes:
    """A field of bytes; it may claim to be longer than it is."""
    return tag(number, BYTES) + varint(len(content) if claimed is None else claimed) + content


# --- requests that are filled in ----------------------------------------------------------------------------------------------


def filled(descriptor: Descriptor, rng: random.Random, value: Callable[[FieldDescriptor], Any], depth: int = 0) -> Any:
    """A message whose every field is set, of a oneof the one that chance has it."""
    message = GetMessageClass(descriptor)()
    chosen = {oneof.name: rng.choice(list(oneof.fields)).name for oneof in descriptor.oneofs}
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof is not None and chosen[oneof.name] != field.name:
            continue
        if field.message_type is None:
            given = value(field)
            if field.is_repeated:
                getattr(message, field.name).extend([given])
            else:
                setattr(message, field.name, given)
        elif field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["key"] = "value"
        elif depth < _DEEPEST:
            inner = filled(field.message_type, rng, value, depth + 1)
            if field.is_repeated:
                getattr(message, field.name).append(inner)
            else:
                getattr(message, field.name).CopyFrom(inner)
    return message


def usual(field: FieldDescriptor) -> Any:
    """A value that a client might send."""
    if field.name == "encoded":
        return _photograph()
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    return {"string": "a", "bytes": b"abc", "bool": True, "float": 0.5}.get(_sort(field), 1)


@lru_cache
def _photograph() -> bytes:
    return photograph(3, width=64, height=48)


def _sort(field: FieldDescriptor) -> str:
    if field.type in FLOATS:
        return "float"
    names = {FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_BYTES: "bytes", FieldDescriptor.TYPE_BOOL: "bool"}
    return names.get(field.type, "integer")


def _strange(rng: random.Random, **choices: tuple[Any, ...]) -> Callable[[FieldDescriptor], Any]:
    """Values of which some sorts are strange, in about half of their fields."""

    def value(field: FieldDescriptor) -> Any:
        sort = "enum" if field.enum_type is not None else _sort(field)
        if sort == "integer" and "integer" in choices:
            low, high = INTEGERS[field.type]
            return rng.choice((low, high, high // 2, 0))
        return rng.choice(choices[sort]) if sort in choices and rng.random() < 0.5 else usual(field)

    return value


STRANGE_TEXTS = ("", "\0", "a\0b", "\n" * 100, "'; DROP TABLE entries; --", "\\!id", "\u202e", "💥" * 300, "%s%n", "../" * 50)


def unknown_enums(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Numbers that name nothing, below zero too."""
    return _written(descriptor, rng, enum=(-1, 99, 2**31 - 1, -(2**31)))


def no_numbers(descriptor: Descriptor, rng: random.Random) -> bytes:
    """NaN, infinities, and numbers too large or small to reckon with."""
    return _written(descriptor, rng, float=(float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, -0.0))


def extreme_numbers(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Sizes and counts at the ends of their types, negative ones where there are such."""
    return _written(descriptor, rng, integer=())


def strange_texts(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Text that programs stumble over."""
    return _written(descriptor, rng, string=STRANGE_TEXTS, bytes=(b"", b"\0", bytes(range(256)), b"\xff\xd8"))


def huge_texts(descriptor: Descriptor, rng: random.Random) -> bytes:
    """A megabyte where a word belongs."""
    big = 1 << rng.randrange(16, 21)
    return _written(descriptor, rng, string=("a" * big, "💥" * (big // 4), "\0" * big), bytes=(bytes(big),))


def _written(descriptor: Descriptor, rng: random.Random, **choices: tuple[Any, ...]) -> bytes:
    return filled(descriptor, rng, _strange(rng, **choices)).SerializeToString()


def empty_inside(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Messages that are there and hold nothing: of a oneof, no member."""
    at, out = descriptor, []
    while inner := [field for field in at.fields if field.message_type and not field.message_type.GetOptions().map_entry]:
        field = rng.choice(inner)
        out.append(field.number)
        at = field.message_type
        if rng.random() < 0.4 or len(out) > _DEEPEST:
            break
    content = b""
    for number in reversed(out):
        content = sized(number, content)
    return content * rng.choice((1, 2, 50))


# --- bytes that are no message ------------------------------------------------------------------------------------------------


def _of(descriptor: Descriptor, rng: random.Random) -> bytes:
    return filled(descriptor, rng, usual).SerializeToString() or sized(1, b"abc")


def truncated(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Cut short."""
    data = _of(descriptor, rng)
    return data[: rng.randrange(len(data))]


def noise(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Anything."""
    return rng.randbytes(rng.choice((1, 7, 100, 5000)))


def changed(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Some bytes are others."""
    data = bytearray(_of(descriptor, rng))
    for _ in range(rng.randrange(1, 9)):
        data[rng.randrange(min(len(data), 200))] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(data)


def spliced(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Two that differ, merged as protobuf merges, and cut into each other."""
    one, other = _of(descriptor, rng), _of(descriptor, rng)
    place = rng.randrange(len(one))
    return rng.choice((one + other, one * 20, one[:place] + other + one[place:]))


def wrong_wire_types(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Each field as something else than it is."""
    bodies = {VARINT: b"\x05", FIXED64: bytes(8), BYTES: b"\x03abc", FIXED32: bytes(4)}
    out = b""
    for number in [field.number for field in descriptor.fields] or [1]:
        wire_type = rng.choice(list(bodies))
        out += tag(number, wire_type) + bodies[wire_type]
    return out


def impossible_tags(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Field 0, wire types that there are not, groups without an end or beginning, numbers out of range."""
    return rng.choice(
        (
            tag(0, VARINT) + b"\1", tag(1, 6), tag(1, 7) + b"abc", tag(1, GROUP), tag(1, END_GROUP), tag(2**29, VARINT) + b"\1",
            tag(1, GROUP) + tag(2, END_GROUP), tag(2**60, BYTES) + b"\1a", sized(2**29 - 1, b"unknown") * 1000,
        )
    )  # fmt: skip


def huge_varints(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Longer than ten bytes, or of the largest number."""
    number = rng.choice([field.number for field in descriptor.fields] or [1])
    return tag(number, VARINT) + rng.choice(
        (b"\xff" * 9 + b"\1", b"\xff" * 10, b"\xff" * 11 + b"\1", b"\x80" * 100, b"\xff" * 5000)
    )


def wrong_lengths(descriptor: Descriptor, rng: random.Random) -> bytes:
    """A field that ends behind the message."""
    number = rng.choice([field.number for field in descriptor.fields] or [1])
    return sized(number, b"abc", claimed=rng.choice((4, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1)))


def no_utf8(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Text that is none, in each field of text and in those of messages in it."""
    bad = rng.choice((b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"a\x80", b"\xf4\x90\x80\x80"))

    def write(at: Descriptor, depth: int) -> bytes:
        out = b""
        for field in at.fields:
            if field.type == FieldDescriptor.TYPE_STRING:
                out += sized(field.number, bad)
            elif field.message_type is not None and depth:
                out += sized(field.number, write(field.message_type, depth - 1))
        return out

    return write(descriptor, 3) or sized(1, bad)


def deep(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Messages or groups in each other, deeper than anybody reads."""
    number, content = rng.choice([field.number for field in descriptor.fields] or [1]), b""
    levels = rng.choice((90, 101, 3000))
    if rng.random() < 0.3:
        return tag(number, GROUP) * levels + tag(number, END_GROUP) * levels
    filters = [field for field in descriptor.fields if field.message_type and field.message_type.name == "Filter"]
    if filters:  # all of all of all of …
        for _ in range(levels):
            content = sized(1, sized(1, content))
        return sized(filters[0].number, content)
    for _ in range(levels):
        content = sized(number, content)
    return content


def of_another_call(descriptor: Descriptor, rng: random.Random) -> bytes:
    """A request that is another call's."""
    other = rng.choice([method.input_type for method in METHODS if method.input_type is not descriptor])
    return _of(other, rng)


def packed_nonsense(descriptor: Descriptor, rng: random.Random) -> bytes:
    """Repeated numbers packed in a size that they do not have."""
    return b"".join(sized(field.number, struct.pack("<7B", *range(7)) + b"\x80") for field in descriptor.fields) or b"\x80"


KINDS: tuple[Callable[[Descriptor, random.Random], bytes], ...] = (
    unknown_enums, no_numbers, extreme_numbers, strange_texts, huge_texts, empty_inside, truncated, noise, changed, spliced,
    wrong_wire_types, impossible_tags, huge_varints, wrong_lengths, no_utf8, deep, of_another_call, packed_nonsense,
)  # fmt: skip


def malformed(count: int, seed: int = 0) -> Iterator[Malformed]:
    """So many requests, all different: calls with no message and with two first, then each kind for each call in turn."""
    rng = random.Random(seed)
    cheap = [method for method in METHODS if method.name not in DEAR]
    made = [Malformed(method, "no message", ()) for method in METHODS]
    made += [Malformed(method, "two messages", (_of(method.input_type, rng), b"\xff")) for method in cheap]
    made += [Malformed(method, "impossible tag", (tag(0, VARINT),)) for method in METHODS if method.name in DEAR]
    seen = {(request.path, request.messages) for request in made}
    yield from made[:count]
    for number in itertools.count():
        if len(seen) >= count:
            return
        method, kind = cheap[number % len(cheap)], KINDS[number // len(cheap) % len(KINDS)]
        request = Malformed(method, kind.__name__, (kind(method.input_type, rng),))
        if (request.path, request.messages) not in seen:  # of an empty message there are not many
            seen.add((request.path, request.messages))
            yield request
