"""Where each setting of a server comes from: its default, a TOML file, the environment, a flag; the later wins. Opens nothing.

The keys and their types are the fields of `ServeConfig` and of its tables, written `batch.max_studies`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from foveal_runtime.bundle.shipped import how_to_serve
from foveal_runtime.errors import ConfigError
from foveal_runtime.serving.config import NOT_SET_BY_HAND, ServeConfig

PREFIX = "FOVEAL_SERVE_"
"""Of the environment's variables."""
_MEASURED = ("workers", "threads", "batch.max_studies")
"""What `foveal compile` measures."""
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path as text"}
_FLAGS = {"max_batch": "batch.max_studies", "store_replica": "store_replicas"}
"""Flags whose setting lies in a table or has another name."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key with what it is set to."""

    value: Any
    origin: str
    """In words: `default`, the file, the variable or the flag."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration, and where each part of it was set."""

    config: ServeConfig
    by_key: Mapping[str, Setting]


def keys() -> Mapping[str, Any]:
    """The type of every key, in the order of the fields."""
    return MappingProxyType(dict(_keys(ServeConfig, "")))


def _keys(kind: type[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        hint = hints[each.name]
        if each.name in NOT_SET_BY_HAND:
            continue
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _keys(hint, f"{each.name}.")
        else:
            yield f"{prefix}{each.name}", hint


def variable(key: str) -> str:
    """The environment variable of a key."""
    return PREFIX + key.replace(".", "_").upper()


def read_config(path: Path | None, flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> ServeConfig:
    """The configuration alone; see `read_settings`."""
    return read_settings(path, flags, environ or {}).config


def read_settings(path: Path | None, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """The configuration of a TOML file, over which the environment wins, over which flags win.

    Args:
        path: None reads no file.
        flags: by field name; None means the flag was not given.
        environ: of which variables that begin with `PREFIX` are read.

    Raises:
        ConfigError: unreadable, an unknown name, or a value that does not fit.
    """
    known = keys()
    found: dict[str, Setting] = {}
    if path is not None:
        found.update(_of_file(path, known))
    found.update(_of_environment(environ, known))
    for name, value in flags.items():
        if value is not None:
            key = _FLAGS.get(name, name)
            flag = f"flag --{name.removesuffix('_s').removesuffix('_mb').replace('_', '-')}"
            found[key] = Setting(value, "argument" if key == "bundle" else flag)
    chosen = any(key in found for key in _MEASURED)
    if "bundle" not in found:
        raise ConfigError(f"no bundle to serve; {how_to_serve()}")
    config = _made({key: setting.value for key, setting in found.items()}, chosen=chosen)
    return Settings(config, {key: found.get(key) or Setting(_value(config, key), "default") for key in known})


def _of_file(path: Path, known: Mapping[str, Any]) -> Iterator[tuple[str, Setting]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"configuration {path} can't be read ({type(error).__name__}: {error}); mend the file") from None
    tables = {key.partition(".")[0] for key in known if "." in key}
    for name, value in document.items():
        if name not in tables:
            yield _written(path, name, value, known)
        elif isinstance(value, dict):
            yield from (_written(path, f"{name}.{inner}", each, known) for inner, each in value.items())
        else:
            raise ConfigError(f"configuration {path}: {name} is a table; write [{name}] above its keys")


def _written(path: Path, key: str, value: Any, known: Mapping[str, Any]) -> tuple[str, Setting]:
    where = f"configuration {path}"
    if key not in known:
        raise ConfigError(f"{where} has {key!r}, which is no setting; {_nearest(key, known)}")
    try:
        # As JSON, in which a path or a choice is text; in Python's strict mode each wants an object of its own.
        typed = TypeAdapter(known[key]).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        raise ConfigError(f"{where}: {key} is {_told(value)}; want {wanted(known[key])}") from None
    return key, Setting(typed, str(path))


def _of_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> Iterator[tuple[str, Setting]]:
    by_variable = {variable(key): key for key in known}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        if name not in by_variable:
            raise ConfigError(f"the environment has {name}, which is no setting; {_nearest(name, by_variable)}")
        key = by_variable[name]
        try:
            kind = TypeAdapter(known[key])
            if get_origin(known[key]) is tuple:
                typed = kind.validate_python(_listed(environ[name]))
            else:
                typed = kind.validate_strings(environ[name])
        except ValidationError:
            raise ConfigError(f"{name} is {_told(environ[name])}; want {wanted(known[key])}") from None
        yield key, Setting(typed, f"environment {name}")


def _listed(text: str) -> list[str]:
    """Items between commas."""
    return [each.strip() for each in text.split(",") if each.strip()]


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    # A key that was written outside of its table, or in the wrong one.
    near = near or [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return (f"did you mean {near[0]!r}? " if near else "") + "docs/reference/configuration.md lists them"


def _told(value: Any) -> str:
    """A value that does not fit, as its writer knows it."""
    kind = "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else _NAMES.get(type(value), "a date")
    if isinstance(value, (dict, list)):
        return kind
    return f"{str(value).lower() if isinstance(value, bool) else repr(value)} ({kind})"


def wanted(hint: Any) -> str:
    """A type in words."""
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return " or ".join(wanted(each) for each in get_args(hint) if each is not type(None))
    if get_origin(hint) in (tuple, list, frozenset):
        return f"a list of {wanted(get_args(hint)[0])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(str(each.value) for each in hint)
    return _NAMES[hint]


def _made(values: Mapping[str, Any], *, chosen: bool) -> ServeConfig:
    own = {key: value for key, value in values.items() if "." not in key}
    hints = get_type_hints(ServeConfig)
    for table in {key.partition(".")[0] for key in values if "." in key}:
        inside = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{table}.")}
        own[table] = hints[table](**inside)
    return ServeConfig(**own, chosen=chosen)


def _value(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config
