"""Recipes as files: found by name or path, merged over a profile's preset, overridden by `key=value`. Runs nothing.

Order of precedence: profile preset < recipe file < `--set key=value`. Unknown keys are errors, with the nearest known one.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import CLASSES, FINDING, check_heads
from foveal_train.model.profile import ModelConfig, profile
from foveal_train.training.recipe import Recipe

RECIPES = Path(__file__).parents[1] / "recipes"
_MODEL_KEYS = tuple(f.name for f in fields(ModelConfig) if f.name != "profile")


def known_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with foveal, for example `edge` or `paper/full`."""
    return tuple(sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.toml")))


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by name or path and apply `key=value` overrides.

    Raises:
        ConfigError: unknown recipe or key, or a value that does not fit.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        raise ConfigError(
            f"there is no recipe {name_or_path!r}; choose one of {', '.join(known_recipes())}, or name a .toml file"
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is no valid TOML: {error}") from None
    for override in overrides:
        _apply(document, override)
    return _resolve(document, default_name=path.stem)


def _apply(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r} is not key=value; write for example --set optimiser.epochs=4")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text  # bare words and paths need no quotes
    *parents, last = key.strip().split(".")
    table = document
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key}: {parent} is a value, not a table")
    table[last] = value


def _heads(given: Any) -> list[dict[str, Any]]:
    """Heads as tables, with the classes of those that are known by name.

    Raises:
        ConfigError: it is no list of names or tables, or names one twice.
    """
    listed = [each.strip() for each in given.split(",")] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not listed:
        raise ConfigError('recipe key heads is no list of names; write for example heads = ["icdr", "edema"]')
    found: list[dict[str, Any]] = [{"name": each} if isinstance(each, str) else dict(each) for each in listed]
    names = [str(each.get("name", "")) for each in found]
    if len(set(names)) < len(names):
        raise ConfigError(f"recipe key heads names one twice ({', '.join(names)}); name each once")
    for name, each in zip(names, found, strict=True):
        each["classes"] = tuple(each.get("classes") or CLASSES.get(name, ()))
    wrong = check_heads({name: each["classes"] or FINDING for name, each in zip(names, found, strict=True)})
    if wrong:
        raise ConfigError(f"recipe key heads: {wrong}")
    return found


def _merge(defaults: dict[str, Any], given: dict[str, Any], where: str) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in given.items():
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(defaults))}"
            raise ConfigError(f"recipe key {where}{key} does not exist; {hint}")
        both = isinstance(value, dict) and isinstance(defaults[key], dict)
        merged[key] = _merge(defaults[key], value, f"{where}{key}.") if both else value
    return merged


def _resolve(document: dict[str, Any], *, default_name: str) -> Recipe:
    document = dict(document)
    preset = asdict(profile(str(document.pop("profile", "edge"))))
    model = _merge(preset, {key: document.pop(key) for key in _MODEL_KEYS if key in document}, "")
    defaults = asdict(Recipe(name=default_name, model=profile("tiny")))
    del defaults["model"]
    merged = _merge(defaults, document, "")
    model["heads"] = _heads(model["heads"])
    try:
        return TypeAdapter(Recipe).validate_python({**merged, "model": model})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"recipe key {where}: {first['msg']}") from None
