"""NVIDIA's driver and GPUs, as NVML names them. Opens no context on a GPU and takes none of its memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One card."""

    name: str
    capability: tuple[int, int]
    """CUDA's compute capability, (8, 9) for Ada."""
    memory_bytes: int

    def __str__(self) -> str:
        """Name, architecture and memory in a few words."""
        return f"{self.name} (compute capability {self.capability[0]}.{self.capability[1]}, {self.memory_bytes / 1e9:.0f} GB)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """The driver of this machine's NVIDIA GPUs."""

    version: str
    cuda: tuple[int, int]
    """Newest CUDA that it runs."""
    gpus: tuple[Gpu, ...]


def nvidia_driver() -> Driver | None:
    """The driver that answers on this machine; None where there is none, or where `nvidia-ml-py` is not installed to ask it."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        return Driver(
            version=str(pynvml.nvmlSystemGetDriverVersion()),
            cuda=(cuda // 1000, cuda % 1000 // 10),
            gpus=tuple(_gpu(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())),
        )
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object) -> Gpu:
    import pynvml

    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total
    return Gpu(name=str(pynvml.nvmlDeviceGetName(handle)), capability=(int(major), int(minor)), memory_bytes=int(memory))
