"""How many processors this process may use, by its affinity and the limits of its cgroups."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1.

    A container's limit, such as `docker run --cpus 1.5` or a limit of Kubernetes, is rounded up.
    """
    return min(_allowed_cpus(), cgroup_cpus() or _allowed_cpus())


def _allowed_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_cpus(process: Path = Path("/proc/self")) -> int | None:
    """Return the number of CPUs that the cgroups of a process allow, rounded up, at least 1.

    Version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`) are read, of the process's own group
    and of those above it as far as they are visible.

    Args:
        process: its directory in /proc.

    Returns:
        The smallest limit; None without one, or where there are no cgroups.
    """
    limits = []
    with suppress(OSError, ValueError):  # no Linux, or no /proc
        for top, group in _cpu_groups(process):
            for folder in (group, *group.parents):
                if not folder.is_relative_to(top):
                    break
                with suppress(OSError, ValueError):  # the root has no limit
                    if (limit := _limit(folder)) is not None:
                        limits.append(limit)
    return min(limits, default=None)


def _limit(group: Path) -> int | None:
    """Return the limit of one group, in CPUs; None if it has none."""
    if (both := group / "cpu.max").exists():
        quota, period = both.read_text().split()
        if quota == "max":
            return None
    else:
        quota = (group / "cpu.cfs_quota_us").read_text()
        period = (group / "cpu.cfs_period_us").read_text()
    return max(1, -(-int(quota) // int(period))) if int(quota) > 0 else None


def _cpu_groups(process: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the mount points of the hierarchies that limit CPUs, with the process's group there."""
    paths: dict[str, Path] = {}
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(
            controllers.split(","), Path(path)
        )  # version 2 has the controller ""
    for line in (process / "mountinfo").read_text().splitlines():
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ", 2)
        limits_cpus = kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(","))
        name = "" if kind == "cgroup2" else "cpu"
        if not limits_cpus or name not in paths:
            continue
        root, top = (Path(_unescaped(each)) for each in mount.split(" ")[3:5])
        own = paths[name]
        # In a container, the path may be that of the host while only the own group is mounted.
        inside = own.relative_to(root) if own.is_relative_to(root) else Path()
        yield top, top if ".." in inside.parts else top / inside


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, which writes spaces and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
