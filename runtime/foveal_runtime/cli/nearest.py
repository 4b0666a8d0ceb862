"""What to say of a command or an option that there is none of: the nearest one that there is. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownCommandError, UnknownOptionError


def wrong_words(error: CycloptsError, app: App, arguments: Sequence[str]) -> str:
    """One line: what is wrong with the words of a command line, and where the right ones are listed.

    Args:
        error: what the command line's parser found.
        app: the command tree.
        arguments: the words after `foveal`.
    """
    chain = tuple(error.command_chain or ())
    page = " ".join(("foveal", *chain, "--help"))
    if isinstance(error, UnknownCommandError):
        word = error.unused_tokens[0] if error.unused_tokens else ""
        if word.startswith("-"):
            return _line("option", word, _options(app, chain), page)
        return _line("command", word, (name for name in _at(app, chain) if not name.startswith("-")), page)
    if isinstance(error, UnknownOptionError):
        word = (error.token.keyword or error.token.value).partition("=")[0]
        return _line("option", word, _options(app, chain), page)
    if isinstance(error, MissingArgumentError):
        # Asked for first, and often missing only because it was misspelt.
        known = set(_options(app, chain))
        words = (each.partition("=")[0] for each in arguments if each.startswith("--") and each != "--")
        for word in words:
            if word not in known:
                return _line("option", word, known, page)
    return f"{' '.join(str(error).split())} See `{page}`."


def _line(what: str, word: str, known: Iterable[str], page: str) -> str:
    near = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    meant = f" did you mean {near[0]!r}?" if near else ""
    return f"no {what} {word!r};{meant} `{page}` lists them"


def _at(app: App, chain: Sequence[str]) -> App:
    for name in chain:
        app = app[name]
    return app


def _options(app: App, chain: Sequence[str]) -> list[str]:
    """Every option that a command takes."""
    here = _at(app, chain)
    arguments = here.assemble_argument_collection() if here.default_command is not None else ()
    names = [name for argument in arguments for name in argument.names]
    return [*(name for name in names if name.startswith("--")), "--help", "--version"]
