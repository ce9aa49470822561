"""What a benchmark ran on: enough to compare runs, and nothing that says whose machine it is."""

from __future__ import annotations

import os
import platform
import subprocess  # nosec B404: a fixed command of the system, no shell
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable

_FLAGS = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Of processors, as Linux calls them: those that decide about speed."""

_PACKAGES = (
    *("napari-medicosam", "napari", "torch", "segment-anything", "numpy", "zarr", "numcodecs", "openvino"),
    *("onnxruntime", "micro-sam"),
)


class Machine(BaseModel):
    """Processor, memory and system.

    Attributes:
        cpu: as the system names it.
        cpu_flags: of its instruction sets, where the system says so (Linux).
        cores: that this process may use.
        memory_bytes: of the machine; None where the system does not say.
        gpu: where one was used.
        system: operating system and architecture.
        python: version.
        torch_threads: within an operation of torch, and of operations beside each other.
        thread_variables: environment variables about threads that are set.
        cpu_capability: instruction set that torch takes.
        versions: of the packages that matter, if installed.
    """

    model_config = ConfigDict(frozen=True)

    cpu: str
    cpu_flags: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    gpu: str | None
    system: str
    python: str
    torch_threads: tuple[int, int]
    thread_variables: dict[str, str]
    cpu_capability: str
    versions: dict[str, str]


def this_machine(device: torch.device) -> Machine:
    """What this process runs on; `device` is what the models are on."""
    cpu, flags = _processor()
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return Machine(
        cpu=cpu,
        cpu_flags=flags,
        cores=_cores(),
        memory_bytes=_memory(),
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch_threads=(torch.get_num_threads(), torch.get_num_interop_threads()),
        thread_variables={name: os.environ[name] for name in names if name in os.environ},
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        versions=dict(_versions(_PACKAGES)),
    )


def _processor() -> tuple[str, tuple[str, ...]]:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = (line.partition(":") for line in cpuinfo.read_text(errors="replace").splitlines())
        found = {name.strip(): value.strip() for name, _, value in lines}
        flags = (found.get("flags") or found.get("Features") or "").split()
        return found.get("model name", platform.machine()), tuple(f for f in _FLAGS if f in flags)
    if platform.system() == "Darwin":
        asked = subprocess.run(  # nosec B603
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout.strip() or platform.processor(), ()
    return platform.processor(), ()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in packages:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
