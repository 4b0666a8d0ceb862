"""A study file: one study as a JSON object, as `foveal search --study`, `grade` and `embed` read it. Sends nothing.

    {
      "image": "left.jpg",
      "note": "Macular edema is present.",
      "record": {"age_years": 61, "sex": "female", "eye": "left", "diabetes_years": 12, "insulin": true, "diabetes": true}
    }

Every part and every field may be left out, or be null, when unknown. `image` is relative to the folder of the study file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foveal_runtime.errors import InputError
from foveal_runtime.study.photographs import read_photograph
from foveal_runtime.study.study import Eye, Record, Sex, Study

SUFFIX = ".json"
_PARTS = ("image", "note", "record")
_MAX_BYTES = 1 << 20


def is_text(value: str) -> bool:
    """False for what no message and no archive takes: a NUL, or a surrogate that is no character."""
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def read_study(file: Path) -> Study:
    """The study in a file.

    Raises:
        InputError: no such file, no JSON object, an unknown part or field, or a value of the wrong type. Fields are named,
            their values are not.
    """
    try:
        size = file.stat().st_size
        document = json.loads(file.read_text(encoding="utf-8")) if size <= _MAX_BYTES else None
    except OSError as error:
        raise InputError(f"the study file can't be read ({error.strerror}); check the path") from None
    except RecursionError:
        raise InputError("the study file is nested too deeply; write an object with image, note and record") from None
    except ValueError:
        raise InputError("the study file is no JSON; write an object with image, note and record") from None
    if size > _MAX_BYTES:
        raise InputError(f"the study file has more than {_MAX_BYTES >> 20} MiB; name the photograph in it by its path")
    parts = _object(document, "the study file", _PARTS)
    image = _text(parts, "image")
    record = _record(parts.get("record"))
    return Study(
        image=read_photograph(file.parent / image) if image is not None else None,
        note=_text(parts, "note"),
        record=None if record.is_blank else record,
    )


def _record(value: Any) -> Record:
    if value is None:
        return Record()
    fields = _object(value, "record", Record.__slots__)
    return Record(
        age_years=_number(fields, "age_years"),
        sex=_word(fields, "sex", Sex),
        eye=_word(fields, "eye", Eye),
        diabetes_years=_number(fields, "diabetes_years"),
        insulin=_flag(fields, "insulin"),
        diabetes=_flag(fields, "diabetes"),
    )


def _object(value: Any, what: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} is no JSON object; it has the parts {', '.join(known)}")
    if unknown := set(value) - set(known):
        shown = ", ".join(repr(name[:40]) for name in sorted(unknown)[:5])
        raise InputError(f"{what} has {shown}, which means nothing here; known are {', '.join(known)}")
    return value


def _text(parts: Mapping[str, Any], name: str) -> str | None:
    value = parts.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name} is not text; write it in quotes, or leave it out")
    if value is not None and not is_text(value):
        raise InputError(f"{name} holds a NUL or half a character (a lone surrogate); write the file anew, as UTF-8")
    return value


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    # True is an int in Python.
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"record.{name} is not a number; write years, or leave it out when unknown")
    try:
        return None if value is None else float(value)
    except OverflowError:
        raise InputError(f"record.{name} is too large; write years, or leave it out when unknown") from None


def _flag(fields: Mapping[str, Any], name: str) -> bool | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"record.{name} is neither true nor false; leave it out when unknown")
    return value


def _word(fields: Mapping[str, Any], name: str, words: Callable[[str], Any]) -> Any:
    value = _text(fields, name)
    try:
        return None if value is None else words(value)
    except ValueError:
        known = ", ".join(words)  # type: ignore[arg-type]
        raise InputError(f"record.{name} is none of {known}; leave it out when unknown") from None
