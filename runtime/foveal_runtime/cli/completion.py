"""`foveal completion`: a script that completes the commands in a shell. Cyclopts writes it; nothing is installed here."""

from __future__ import annotations

import sys
from typing import Literal

Shell = Literal["bash", "zsh", "fish"]


def completion(shell: Shell, /) -> None:
    """Print a script that completes `foveal`'s commands, options and files in a shell.

    The script knows the commands of the foveal that wrote it: write it again after an upgrade.

    For example:

        source <(foveal completion bash)
        foveal completion bash > ~/.local/share/bash-completion/completions/foveal
        foveal completion zsh > ~/.zfunc/_foveal
        foveal completion fish > ~/.config/fish/completions/foveal.fish

    Args:
        shell: bash, zsh or fish. zsh looks for `_foveal` in the folders of its `fpath`.
    """
    from foveal_runtime.cli.main import build_app

    sys.stdout.write(build_app(importable=True).generate_completion(prog_name="foveal", shell=shell))
