"""The `foveal` script: one line for each command, imported when it is called. Turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from foveal_runtime import __version__
from foveal_runtime.cli.nearest import wrong_words
from foveal_runtime.cli.rooms import missing_room
from foveal_runtime.engine.processor import refuse_too_old
from foveal_runtime.errors import FovealError

_RUNTIME = "foveal_runtime.cli"
_EXTRAS = {
    "adapt": "adapt",
    "drift": "cpu",
    "train": "train",
    "distill": "train",
    "evaluate": "train",
    "sweep": "train",
    "runs": "train",
    "data": "train",
    "export": "export",
    "demo": "cpu,store",
    "gpu-check": "export",
    "store": "store",
}
"""Which extra brings what a command needs."""


_TORCH = frozenset({"train", "distill", "evaluate", "sweep", "export", "verify", "gpu-check"})
"""Commands that compute with PyTorch."""


_COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("train", "foveal_train.cli.train:train", "Train a model and write a run."),
    ("distill", "foveal_train.cli.distill:distill", "Train a student on what finished runs say."),
    ("evaluate", "foveal_train.cli.evaluate:evaluate", "Judge a run on retrieval and grading."),
    ("sweep", "foveal_train.cli.sweep:sweep", "Train and judge several recipes."),
    ("runs", "foveal_train.cli.runs:runs", "List runs, or compare some."),
    ("export", "foveal_export.cli:export", "Export a run to a verified bundle."),
    ("verify", f"{_RUNTIME}.verify:verify", "Check a bundle against PyTorch's answers."),
    ("inspect", f"{_RUNTIME}.inspect:inspect", "Show what a bundle is, on one screen."),
    ("diff", f"{_RUNTIME}.diff:diff", "Compare a bundle with the one it is to replace."),
    ("adapt", f"{_RUNTIME}.adapt:adapt", "Calibrate a bundle for a site, on its own labelled studies."),
    ("doctor", f"{_RUNTIME}.doctor:doctor", "Check this machine, and what a bundle does on it."),
    ("compile", f"{_RUNTIME}.compile:compile_", "Compile a bundle for this machine, and measure how it is best served."),
    ("gpu-check", "foveal_export.gpucheck.command:gpu_check", "Check bundles and training on this machine's GPU."),
    ("serve", f"{_RUNTIME}.serve:serve", "Serve a bundle over gRPC."),
    ("grade", f"{_RUNTIME}.grade:grade", "Grade photographs with a running server."),
    ("exam", f"{_RUNTIME}.exam:exam", "Grade both eyes of one visit, and decide for the patient."),
    ("embed", f"{_RUNTIME}.embed:embed", "Embed photographs, notes or records with a running server."),
    ("index", f"{_RUNTIME}.index:index", "Store a folder's photographs in a server's archive."),
    ("search", f"{_RUNTIME}.search:search", "Search a server's archive by text, photograph, study or id."),
    ("proto", f"{_RUNTIME}.proto:proto", "Print where the gRPC contract lies, for protoc."),
    ("demo", f"{_RUNTIME}.demo:demo", "Serve the shipped model on real photographs, then make one."),
    ("completion", f"{_RUNTIME}.completion:completion", "Print a script that completes the commands in a shell."),
)
_DATA: tuple[tuple[str, str, str], ...] = (
    ("synth", "foveal_train.cli.data:synth", "Generate a BRSET-shaped data set."),
    ("check", "foveal_train.cli.data:check", "Read a data set as training would, and report on it."),
)


def _default_text(default: object) -> str | None:
    """A default as `--help` shows it; a flag that is off by default says nothing."""
    return None if default is None or default is False else str(default)


def build_app(*, listing: bool = False, listing_data: bool = False, importable: bool = False) -> App:
    """The command tree; no command's module is imported.

    Args:
        listing: give each command its line in the list of all. A command's own page has more to say, and would be lost.
        listing_data: the same for the commands of `foveal data`.
        importable: leave out commands whose module can't be imported, of a room that is not installed; this imports them all.
    """
    app = App(
        name="foveal",
        help="Train, verify, export and serve a multimodal diabetic-retinopathy model.",
        version=__version__,
        help_format="markdown",
        default_parameter=Parameter(negative=(), show_default=_default_text),
        suppress_keyboard_interrupt=False,
    )
    data = App(name="data", help="Make and check data sets.")
    _add(data, _DATA, lines=listing_data, importable=importable)
    if any(not name.startswith("-") for name in data):
        app.command(data)
    _add(app, _COMMANDS, lines=listing, importable=importable)
    app.command(
        f"{_RUNTIME}.shadow:app", name="shadow", **({"help": "What a bundle in the shadow would have said."} if listing else {})
    )
    drift = "Tell whether a camera's photographs are still what they were."
    app.command(f"{_RUNTIME}.drift:app", name="drift", **({"help": drift} if listing else {}))
    app.command(f"{_RUNTIME}.store:app", name="store", **({"help": "Look after an archive's store."} if listing else {}))
    trail = "Check, export or replay a server's audit trail."
    app.command(f"{_RUNTIME}.audit:app", name="audit", **({"help": trail} if listing else {}))
    app.command(
        f"{_RUNTIME}.token:app",
        name="token",
        **({"help": "Make and revoke the tokens of a server's callers."} if listing else {}),
    )
    fit = "Check photographs for gradability, and fit that to a camera."
    app.command(f"{_RUNTIME}.quality:app", name="quality", **({"help": fit} if listing else {}))
    return app


def _add(app: App, commands: tuple[tuple[str, str, str], ...], *, lines: bool, importable: bool) -> None:
    for name, target, line in commands:
        if importable:
            try:
                import_module(target.partition(":")[0])
            except ModuleNotFoundError:
                continue
        app.command(target, name=name, **({"help": line} if lines else {}))


def main() -> NoReturn:
    """Entry point: run a command, and exit."""
    arguments = sys.argv[1:]
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code; every error on purpose is one line on stderr."""
    try:
        refuse_too_old()
        if _command(arguments) in _TORCH:
            # Read once, when PyTorch's OpenMP is loaded. Threads that wait by spinning take a busy machine's cores.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        words = [argument for argument in arguments if not argument.startswith("-")]
        app = build_app(listing=not words, listing_data=words == ["data"])
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # here, where a reader that has gone is an exit code; at the interpreter's end it is a complaint
    except FovealError as error:
        return _fail(str(error), error.exit_code)
    except CycloptsError as error:
        return _fail(wrong_words(error, app, arguments), 2)
    except ModuleNotFoundError as error:
        wanted = _EXTRAS.get(_command(arguments))
        if wanted is None or (error.name or "").startswith("foveal_runtime"):
            raise
        return _fail(str(missing_room(error, wanted)), 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who read our output has gone; without this the interpreter complains once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}; check the path and its permissions", 2)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _command(arguments: list[str]) -> str:
    return next((argument for argument in arguments if not argument.startswith("-")), "")


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    main()
