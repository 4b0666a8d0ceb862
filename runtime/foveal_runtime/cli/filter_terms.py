"""`--filter` terms of the command line to a `Filter` message. Makes no SQL and asks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foveal_runtime.errors import InputError
from foveal_runtime.rpc.filters import date_from

_FACTS = ("id", "patient", "camera", "site", "source")
_CHOICES = {"eye": ("right", "left"), "precision": ("fp32", "fp16", "int8"), "referable": ("true", "false")}
KEYS = (*_FACTS, *_CHOICES, "icdr", "acquired", "attr.NAME")


def filter_of(terms: Sequence[str]) -> Any:
    """All terms must hold.

    Args:
        terms: `key=value`, `key!=value`, and for icdr and acquired also `key=FROM..TO`, either end of which may be left out.

    Raises:
        InputError: naming the term's key and what it may be.
    """
    from foveal_runtime._proto import archive_pb2

    return archive_pb2.Filter(all=archive_pb2.FilterList(filters=[_term(term) for term in terms]))


def _term(term: str) -> Any:
    from foveal_runtime._proto import archive_pb2

    key, found, value = term.partition("=")
    if not found:
        raise InputError(f"--filter {term!r} has no '='; write key=value")
    if key.endswith("!"):
        return archive_pb2.Filter(**{"not": _condition(key[:-1], value)})
    return _condition(key, value)


def _condition(key: str, value: str) -> Any:
    from foveal_runtime._proto import archive_pb2

    if key in _FACTS:
        fact = archive_pb2.FactIn(fact=archive_pb2.Fact.Value(f"FACT_{key.upper()}"), values=[value])
        return archive_pb2.Filter(fact=fact)
    if key == "icdr":
        low, high = (_grade(end) for end in _ends(key, value))
        return archive_pb2.Filter(icdr=archive_pb2.GradeRange(at_least=low, at_most=high))
    if key == "acquired":
        first, last = _ends(key, value)
        for end in (first, last):
            date_from(end, "--filter acquired")
        return archive_pb2.Filter(acquired=archive_pb2.DateRange(**{"from": first, "to": last}))
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise InputError(f"--filter {key}: write {' or '.join(f'{key}={each}' for each in _CHOICES[key])}")
        return _choice(key, value)
    if key.startswith("attr.") and key != "attr.":
        return archive_pb2.Filter(attribute=archive_pb2.AttributeEquals(key=key.removeprefix("attr."), value=value))
    raise InputError(f"--filter {key!r} names nothing that is stored; use {', '.join(KEYS)}")


def _choice(key: str, value: str) -> Any:
    from foveal_runtime._proto import archive_pb2
    from foveal_runtime.bundle.manifest import Precision
    from foveal_runtime.rpc.grade_messages import REFERRAL_TO
    from foveal_runtime.rpc.messages import EYE_TO, PRECISION_TO
    from foveal_runtime.study.study import Eye

    if key == "eye":
        return archive_pb2.Filter(eye=EYE_TO[Eye(value)])
    if key == "precision":
        return archive_pb2.Filter(precision=PRECISION_TO[Precision(value)])
    return archive_pb2.Filter(referral=REFERRAL_TO[value == "true"])


def _ends(key: str, value: str) -> tuple[str, str]:
    """Both ends of `FROM..TO`; a single value is both."""
    first, range_, last = value.partition("..")
    if not range_:
        last = first
    if not first and not last:
        raise InputError(f"--filter {key} has no value; write {key}=VALUE or {key}=FROM..TO")
    return first, last


def _grade(text: str) -> Any:
    from foveal_runtime.rpc.grade_messages import ICDR_TO

    if not text:
        return None
    if text not in ("0", "1", "2", "3", "4"):
        raise InputError("--filter icdr: an ICDR grade is 0 to 4; write icdr=2 or icdr=2..4")
    return ICDR_TO[int(text)]
