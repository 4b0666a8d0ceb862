"""The `foveal` script: one line for each command, imported when it is called. Turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from cyclopts import App, CycloptsError, UnknownCommandError

from foveal_runtime import __version__
from foveal_runtime.cli.rooms import missing_room
from foveal_runtime.errors import FovealError

_RUNTIME = "foveal_runtime.cli"
_EXTRAS = {
    "train": "train",
    "evaluate": "train",
    "sweep": "train",
    "data": "train",
    "export": "export",
    "demo": "export",
    "store": "store",
}
"""Which extra brings what a command needs."""


def build_app() -> App:
    """The command tree; no command's module is imported."""
    app = App(
        name="foveal",
        help="Train, verify, export and serve a multimodal diabetic-retinopathy model.",
        version=__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    data = App(name="data", help="Make and check data sets.")
    data.command("foveal_train.cli_data:synth", name="synth")
    data.command("foveal_train.cli_data:check", name="check")
    app.command(data)
    app.command("foveal_train.cli:train", name="train")
    app.command("foveal_train.cli_evaluate:evaluate", name="evaluate")
    app.command("foveal_train.cli_sweep:sweep", name="sweep")
    app.command("foveal_export.cli:export", name="export")
    app.command(f"{_RUNTIME}.verify:verify", name="verify")
    app.command(f"{_RUNTIME}.compile:compile_", name="compile")
    app.command(f"{_RUNTIME}.serve:serve", name="serve")
    app.command(f"{_RUNTIME}.client:grade", name="grade")
    app.command(f"{_RUNTIME}.client:embed", name="embed")
    app.command(f"{_RUNTIME}.archive:index", name="index")
    app.command(f"{_RUNTIME}.archive:search", name="search")
    app.command(f"{_RUNTIME}.store:app", name="store")
    app.command("foveal_export.demo:demo", name="demo")
    return app


def main() -> NoReturn:
    """Entry point: run a command, and exit."""
    arguments = sys.argv[1:]
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code; every error on purpose is one line on stderr."""
    try:
        result = build_app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except FovealError as error:
        return _fail(str(error), error.exit_code)
    except UnknownCommandError:
        return _fail(f"no command {_command(arguments)!r}; `foveal --help` lists them", 2)
    except CycloptsError as error:
        return _fail(f"{' '.join(str(error).split())} See `foveal {_command(arguments)} --help`.", 2)
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
