"""Write docs/reference/ from the code: commands, settings, recipes, errors, metrics, environment variables.

python scripts/reference.py            write the pages
python scripts/reference.py --check    fail when a page is not what the code says
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from foveal_runtime import errors
from foveal_runtime.access.roles import Role
from foveal_runtime.cli.environment import VARIABLES
from foveal_runtime.cli.main import build_app
from foveal_runtime.rpc.gauges import FIGURES
from foveal_runtime.rpc.permissions import ROLES
from foveal_runtime.serving.config import NOT_SET_BY_HAND, ServeConfig
from foveal_runtime.serving.settings import variable
from foveal_runtime.study import synonyms
from foveal_train.training.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Written by scripts/reference.py from the code: change that, then run `make reference`. -->\n\n"


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check = parser.parse_args().check
    found = {f"{name}.md": MADE + text for name, text in pages().items()}
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    if check:
        stale = sorted(name for name in found.keys() | there.keys() if found.get(name) != there.get(name))
        if stale:
            print(f"docs/reference is stale: {', '.join(stale)}; run `make reference`", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - found.keys():
        (FOLDER / name).unlink()
    for name, text in found.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Every page by its name."""
    return {
        "commands": commands(),
        "configuration": "# Settings of `foveal serve`\n\n"
        "`foveal serve --config FILE.toml` takes these keys. A variable of the environment wins over the file: "
        f"`{variable('address')}` for `address`, `{variable('batch.max_studies')}` for `max_studies` of `[batch]`; "
        "items of a list stand between commas. A flag of the same name wins over both. A key, or a variable of that beginning, "
        "that is none of these is refused, as is a value of another type. `foveal serve --check-config` prints all of it, and "
        "where each was set.\n\n" + "".join(tables(ServeConfig, leave_out=NOT_SET_BY_HAND)),
        "recipes": "# Keys of a recipe\n\n"
        "A recipe is a TOML file with these keys, over the preset of its `profile`; `foveal train --set key=value` wins.\n\n"
        + "".join(tables(Recipe)),
        "errors": error_page(),
        "roles": roles_page(),
        "metrics": metrics_page(),
        "environment": environment_page(),
        "synonyms": synonyms_page(),
    }


def commands() -> str:
    """The help of every command."""
    text: str = build_app().generate_docs(output_format="markdown")
    return "# Commands\n\n" + text.partition("\n")[2].lstrip().rstrip() + "\n"


def tables(kind: type[Any], *, prefix: str = "", leave_out: tuple[str, ...] = ()) -> Iterator[str]:
    """A table of a dataclass's fields, then one for every field that is a dataclass itself."""
    yield f"## {f'`[{prefix}]`' if prefix else 'Top level'}\n\n"
    if prefix:
        yield f"{one_line(inspect.getdoc(kind) or '')}\n\n"
    yield "| key | type | default | what it is |\n| --- | --- | --- | --- |\n"
    inner: list[tuple[str, type[Any]]] = []
    hints, said = get_type_hints(kind), remarks(kind)
    for field in fields(kind):
        hint = hints[field.name]
        if is_dataclass(hint) and isinstance(hint, type):
            inner.append((f"{prefix}.{field.name}".lstrip("."), hint))
        elif field.name not in leave_out:
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            assert field.name in said, f"{kind.__name__}.{field.name} needs a sentence below it"
            yield f"| `{field.name}` | {typed(hint)} | {default_text(default)} | {one_line(said[field.name])} |\n"
    yield "\n"
    for name, part in inner:
        yield from tables(part, prefix=name, leave_out=leave_out)


def remarks(kind: type[Any]) -> dict[str, str]:
    """The strings that stand below a class's fields."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        body = ast.parse(inspect.getsource(each)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[field.target.id] = str(after.value.value)
    return found


def one_line(text: str) -> str:
    """Text in one cell of a table."""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def typed(hint: Any) -> str:
    """A type as a reader of a TOML file knows it."""
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return " or ".join(typed(each) for each in get_args(hint) if each is not type(None))
    if get_origin(hint) in (tuple, list, frozenset):
        return f"list of {typed(get_args(hint)[0])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " ".join(f"`{each.value}`" for each in hint)
    if is_dataclass(hint):
        return " or ".join(["name", f"table of {' and '.join(f'`{each.name}`' for each in fields(hint))}"])
    return {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}[hint]


def default_text(value: Any) -> str:
    """A default as it would be written."""
    if value is MISSING:
        return "required"
    if value is None:
        return ""
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if is_dataclass(value):
        return f"`{value.name}`"  # type: ignore[union-attr]  # a head's: its classes are those that are known
    if isinstance(value, (tuple, list, frozenset, set)):
        return " ".join(default_text(each) for each in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value != "" else ""


def error_page() -> str:
    """Every reason that an answer can carry, and what a command exits with."""
    kinds: list[type[errors.FovealError]] = []

    def walk(kind: type[errors.FovealError]) -> None:
        kinds.append(kind)
        for each in kind.__subclasses__():
            if each.__module__ == errors.__name__:
                walk(each)

    walk(errors.FovealError)
    rows = []
    for kind in sorted(kinds, key=lambda kind: kind.reason):
        cells = (f"`{kind.reason}`", kind.grpc_code, kind.exit_code, f"`{kind.__name__}`", one_line(inspect.getdoc(kind) or ""))
        rows.append("| " + " | ".join(map(str, cells)) + " |\n")
    return (
        "# Errors\n\nThe reason stands in `google.rpc.ErrorInfo` (domain `foveal`) of a call or of one result; a command "
        "prints the message and ends with the exit code.\n\n"
        "| reason | gRPC code | exit | class in `foveal_runtime.errors` | when |\n"
        "| --- | --- | --- | --- | --- |\n" + "".join(rows)
    )


def roles_page() -> str:
    """Of which roles each call needs one."""

    def needed(roles: frozenset[Role]) -> str:
        return "any" if roles == frozenset(Role) else " or ".join(f"`{role}`" for role in Role if role in roles)

    rows = [
        f"| `{service}` | {call} | {needed(roles)} |\n" for service, calls in ROLES.items() for call, roles in calls.items()
    ]
    return (
        "# Roles\n\nThe role that a caller needs where a server has `--tokens`; no role includes another "
        "([operations](../operations.md#who-may-do-what)).\n\n"
        "| service | call | role |\n| --- | --- | --- |\n" + "".join(rows)
    )


def metrics_page() -> str:
    """Every figure that Prometheus finds."""
    rows = [
        f"| `{each.name}` | {each.kind} | {' '.join(f'`{label}`' for label in each.labels)} | {each.text} |\n"
        for each in FIGURES
    ]
    return (
        "# Metrics\n\n`foveal serve --metrics HOST:PORT` offers these to Prometheus at `/metrics`.\n\n"
        "| name | kind | labels | what it is |\n| --- | --- | --- | --- |\n" + "".join(rows)
    )


def environment_page() -> str:
    """Every variable that foveal reads or that its documentation tells to set."""
    rows = [f"| `{name}` | {text} |\n" for name, text in sorted(VARIABLES.items())]
    return "# Environment variables\n\n| name | what it does |\n| --- | --- |\n" + "".join(rows)


def synonyms_page() -> str:
    """Every word of a clinic's table that is understood."""
    parts = [
        "# Words of tables\n\nWhat a column of `folder:` may be called and what the cells of every data set may say. Case, "
        "accents, punctuation and blanks do not matter. A mapping file (docs/datasets.md) adds to them.\n\n## Columns\n\n"
        "| field | spellings |\n| --- | --- |\n",
        *(f"| `{field}` | {', '.join(spellings)} |\n" for field, spellings in synonyms.SPELLINGS.items()),
    ]
    tables: dict[str, Mapping[str, Any]] = {
        "ICDR grades": synonyms.ICDR,
        "SDRG levels": synonyms.SDRG,
        "Macular edema": synonyms.EDEMA,
        "Eyes": synonyms.EYES,
        "Sexes": synonyms.SEXES,
        "Yes and no": synonyms.YES_NO,
    }
    for title, words in tables.items():
        by_value: dict[Any, list[str]] = {}
        for word, value in words.items():
            by_value.setdefault(value, []).append(word)
        parts.append(f"\n## {title}\n\n| value | words |\n| --- | --- |\n")
        parts += [f"| {str(value).lower()} | {', '.join(several)} |\n" for value, several in by_value.items()]
    missing = ", ".join(sorted(filter(None, synonyms.MISSING)))
    return "".join(parts) + f"\n## Empty cells\n\nA cell of punctuation alone (`-`, `?`), and: {missing}.\n"


if __name__ == "__main__":
    raise SystemExit(main())
