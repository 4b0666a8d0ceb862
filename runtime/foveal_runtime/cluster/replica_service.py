"""The class that Ray Serve makes replicas of: its methods are named as the calls, which is how Ray finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal_runtime.cluster.replica import Replica
from foveal_runtime.errors import BundleError

if TYPE_CHECKING:
    from foveal_runtime.serving.config import ServeConfig


class ScreeningReplica:
    """Answers what the proxies pass on: bytes of a message and Ray's context."""

    async def __init__(self, config: ServeConfig, cpus: int, bundle_sha256: str) -> None:  # type: ignore[misc]  # Ray awaits it
        """Load and test the bundle: Ray sends a replica nothing before this is over.

        Args:
            config: as of `foveal serve`.
            cpus: cores of this replica.
            bundle_sha256: of the bundle that is deployed; another one makes other replicas.

        Raises:
            BundleError: this node has another bundle at that path.
            FovealError: the bundle is unusable on this node.
        """
        self._replica = Replica(config, cpus)
        bundle = await self._replica.start()
        if bundle.sha256 != bundle_sha256:
            await self._replica.close()
            raise BundleError(
                f"{config.bundle} on this node is another bundle ({bundle.sha256[:12]}…) than the one that is deployed "
                f"({bundle_sha256[:12]}…); copy it to every node first"
            )

    async def Grade(self, request: bytes, grpc_context: Any) -> Any:
        return await self._replica.answer("Grade", request, grpc_context)

    async def GradeExam(self, request: bytes, grpc_context: Any) -> Any:
        return await self._replica.answer("GradeExam", request, grpc_context)

    async def Embed(self, request: bytes, grpc_context: Any) -> Any:
        return await self._replica.answer("Embed", request, grpc_context)

    async def GetModel(self, request: bytes, grpc_context: Any) -> Any:
        return await self._replica.answer("GetModel", request, grpc_context)

    async def Check(self, request: bytes, grpc_context: Any) -> Any:
        return await self._replica.check(request, grpc_context)

    async def check_health(self) -> None:
        """Ray replaces a replica for which this raises."""
        self._replica.check_usable()
