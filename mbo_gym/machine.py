"""Facts about this machine: memory.

By hand: psutil reports no peak on Linux and cannot reset one; the rest is one call of sysconf.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = [
    "is_running",
    "memory_gb",
    "own_memory_mb",
    "peak_memory_mb",
    "reset_peak_memory",
]

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux tells the limit of a container or a job: version 2, version 1."""


def memory_gb(device: str = "cpu") -> float:
    """Return the memory (GiB) of this machine or a GPU; inf where unknown (Windows).

    In a container or a job with a limit (cgroup), it is the limit.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).total_memory / 2**30
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        whole = float("inf")
    return min([whole, *_limits_gb()])


def _limits_gb() -> list[float]:
    found = []
    for path in _CGROUP_LIMITS:
        try:
            found.append(int(path.read_text()) / 2**30)
        except (OSError, ValueError):  # no such file; no limit is written as "max"
            continue
    return found


def own_memory_mb() -> float | None:
    """Return the memory (MiB) that this process shares with no other; None outside Linux."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    private = ("Private_Clean:", "Private_Dirty:")
    return sum(int(line.split()[1]) for line in lines if line.startswith(private)) / 1024


def reset_peak_memory() -> None:
    """Reset this process's peak memory where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # no such file outside Linux; not allowed in some containers
        return


def peak_memory_mb() -> float | None:
    """Return this process's peak memory (MiB) since `reset_peak_memory`.

    None on Windows.

    Where the measure cannot be reset (macOS, some containers) it is the most since the process
    began.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes there, KiB elsewhere


def is_running(pid: int) -> bool:
    """Return whether a process of this machine is running; True where that is not known."""
    if sys.platform == "win32":  # there, the signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:  # a process that has ended is listed until its parent asks for it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # outside Linux, or just gone
        return True
