"""Python clients, blocking and of an event loop. They grade nothing themselves; requests flow out, answers flow in.

    with Client("127.0.0.1:50051") as client:
        response = client.grade([Study(id="a", image=Path("a.jpg").read_bytes())])

`aio` is written by hand, `blocking` is made from it; `options` says how a server is reached, `requests` what it is sent.
"""

from foveal_runtime.client.aio import AsyncClient
from foveal_runtime.client.blocking import Client
from foveal_runtime.client.options import DEFAULT_ADDRESS, ClientOptions

__all__ = ["DEFAULT_ADDRESS", "AsyncClient", "Client", "ClientOptions"]
