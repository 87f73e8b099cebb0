import errno
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recognizer import read_file, refuse_special, write_file


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_read_whole_up_to_the_bound(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", max_bytes=5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_file(tmp_path / "a", max_bytes=4)
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "link", max_bytes=5) == b"12345"


def test_a_file_whose_size_is_not_known_is_bounded_too():
    assert len(read_file(Path("/proc/self/status"), max_bytes=100_000)) > 100
    with pytest.raises(OSError, match="more than 100 bytes"):
        read_file(Path("/proc/self/status"), max_bytes=100)


def test_what_is_no_file_is_neither_opened_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, kind in {
            tmp_path: "is a directory",
            tmp_path / "pipe": "is a named pipe, not a file",
            tmp_path / "socket": "is a socket, not a file",
            Path("/dev/zero"): "is a device, not a file",
        }.items():
            for refuse in (refuse_special, lambda path: read_file(path, max_bytes=10)):
                with pytest.raises(OSError, match=kind) as caught:
                    refuse(path)
                assert caught.value.strerror == kind
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", max_bytes=10)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    stat = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda self, **_: stat)
    with pytest.raises(OSError, match="is a named pipe"):
        read_file(path, max_bytes=10)


def test_a_file_is_written_with_its_folders_and_over_none(tmp_path):
    path = tmp_path / "a" / "b.bin"
    write_file(path, b"first")
    with pytest.raises(FileExistsError, match="exists already"):
        write_file(path, b"second")
    assert path.read_bytes() == b"first"
    write_file(path, b"second", replace=True)
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["b.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_file_is_not_replaced(tmp_path, replace):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("pipe", "folder", *(() if replace else ("dangling",))):
        with pytest.raises(OSError, match=r"exists already|is a named pipe|is a directory"):
            write_file(tmp_path / name, b"x", replace=replace)
    assert names(tmp_path) == ["dangling", "folder", "pipe"]


def test_a_disk_that_fails_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "old").write_bytes(b"old")

    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name in ("old", "new"):
        with pytest.raises(OSError, match="No space left"):
            write_file(tmp_path / name, b"new", replace=True)
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_disk_without_hard_links_keeps_what_is_there(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_file(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_of_many_who_write_one_name_at_once_one_does(tmp_path):
    def write(number: int) -> bool:
        try:
            write_file(tmp_path / "a", bytes([number]) * 1000)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(write, range(32)))
    assert sum(written) == 1
    assert (tmp_path / "a").read_bytes() == bytes([written.index(True)]) * 1000
    assert names(tmp_path) == ["a"]
