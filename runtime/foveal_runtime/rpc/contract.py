"""Where the contract's .proto files and its released image lie on this machine. Reads none of them."""

from __future__ import annotations

from pathlib import Path

from foveal_runtime.errors import InputError

RELEASED = "released.binpb"
_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "proto", _PACKAGE.parents[1] / "proto")
"""In an installed wheel, and in the repository where this package is an editable install of one."""


def find_contract(places: tuple[Path, ...] = _PLACES) -> Path:
    """The folder to give to `protoc -I`: foveal/v1/*.proto, the google/rpc/*.proto they import, and `RELEASED`.

    Raises:
        InputError: the installation lost them.
    """
    for place in places:
        if (place / "foveal" / "v1").is_dir():
            return place
    raise InputError(f"the contract's .proto files are in none of {', '.join(map(str, places))}; install foveal again")
