"""`foveal proto`: where the contract lies, for any language's protoc. Generates nothing."""

from __future__ import annotations

import sys


def proto() -> int:
    """Print the folder of the gRPC contract: the .proto files and released.binpb, complete for any language's protoc.

    For example:

        foveal proto
        protoc -I "$(foveal proto)" --java_out=src "$(foveal proto)"/foveal/v1/*.proto
    """
    from foveal_runtime.rpc.contract import find_contract

    sys.stdout.write(f"{find_contract()}\n")
    return 0
