from pathlib import Path

import pytest

from recognizer.engines.cpus import cgroup_cpus, usable_cpus


def process(folder: Path, cgroup: str, *mounts: str) -> Path:
    """Write what /proc says of a process."""
    (folder / "cgroup").write_text(cgroup)
    lines = [f"{30 + i} 23 0:{i} {mount}\n" for i, mount in enumerate(mounts)]
    (folder / "mountinfo").write_text("23 1 0:2 / / rw - ext4 /dev/vda rw\n" + "".join(lines))
    return folder


def group(folder: Path, limit: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{limit}\n")


def old_group(folder: Path, quota: int, period: int = 100_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("limit", "n"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("50000 10000", 5),
        ("max 100000", None),
    ],
)
def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path, limit: str, n: int | None):
    group(tmp_path / "fs", limit)
    seen = process(tmp_path, "0::/\n", f"/ {tmp_path}/fs rw - cgroup2 cgroup rw,nsdelegate")
    assert cgroup_cpus(seen) == n


def test_the_smallest_limit_of_a_group_and_those_above_it_counts(tmp_path: Path):
    top = tmp_path / "with space"
    group(top / "kubepods" / "pod", "300000 100000")
    group(top / "kubepods" / "pod" / "box", "max 100000")
    group(top / "kubepods" / "other", "100000 100000")
    mount = f"/ {tmp_path}/with\\040space rw shared:9 - cgroup2 cgroup2 rw"
    seen = process(tmp_path, "0::/kubepods/pod/box\n", mount)
    assert cgroup_cpus(seen) == 3
    group(top / "kubepods", "200000 100000")
    assert cgroup_cpus(seen) == 2
    group(tmp_path, "100000 100000")  # above the mount: no group
    assert cgroup_cpus(seen) == 2


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/docker/1a", "/docker/1a"),
        ("/", "/"),
        ("/", "/../../elsewhere"),
        ("/docker/1a", "/system.slice/1a"),
    ],
)
def test_version_1(tmp_path: Path, root: str, path: str):
    fs = tmp_path / "cpu,cpuacct"
    old_group(fs, 400_000)
    seen = process(
        tmp_path,
        f"9:cpuset:/deep\n4:cpu,cpuacct:{path}\n1:name=systemd:{path}\n0::/\n",
        f"/ {tmp_path}/cpuset rw - cgroup cgroup rw,cpuset",
        f"{root} {fs} rw - cgroup cgroup rw,cpu,cpuacct",
        f"/ {tmp_path}/unified rw - cgroup2 cgroup2 rw",
    )
    assert cgroup_cpus(seen) == 4
    old_group(fs, -1)
    assert cgroup_cpus(seen) is None


def test_what_is_not_there_or_not_understood_is_no_limit(tmp_path: Path):
    assert cgroup_cpus(tmp_path) is None
    seen = process(tmp_path, "0::/\n", f"/ {tmp_path}/fs rw - cgroup2 cgroup2 rw")
    assert cgroup_cpus(seen) is None
    group(tmp_path / "fs", "nonsense")
    assert cgroup_cpus(seen) is None
    (tmp_path / "cgroup").write_text("nonsense\n")
    assert cgroup_cpus(seen) is None


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (1 << 20, None), (None, None)])
def test_the_affinity_and_the_limit_both_count(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, most: int | None
):
    monkeypatch.setattr("recognizer.engines.cpus.cgroup_cpus", lambda: None)
    allowed = usable_cpus()
    assert allowed >= 1
    monkeypatch.setattr("recognizer.engines.cpus.cgroup_cpus", lambda: limit)
    assert usable_cpus() == (most or allowed)
