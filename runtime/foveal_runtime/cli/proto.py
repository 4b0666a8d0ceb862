"""`foveal proto`: where the contract lies, for any language's protoc. Generates nothing."""

from __future__ import annotations

import sys

from foveal_runtime.cli.document import Json, print_json


def proto(*, json: Json = False) -> int:
    """Print the folder of the gRPC contract: the .proto files and released.binpb, complete for any language's protoc.

    For example:

        foveal proto
        protoc -I "$(foveal proto)" --java_out=src "$(foveal proto)"/foveal/v1/*.proto

    Args:
        json: print one JSON document with the folder and its files.
    """
    from foveal_runtime.rpc.contract import find_contract

    folder = find_contract()
    if json:
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
        print_json({"folder": str(folder), "files": files, "image": "released.binpb"})
    else:
        sys.stdout.write(f"{folder}\n")
    return 0
