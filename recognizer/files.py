"""Files that the user names: read up to a limit and without waiting, written atomically."""

import errno
import os
import stat
from pathlib import Path
from secrets import token_hex

# errors of file systems without hard links: FAT, and some network file systems
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}

KINDS = {
    stat.S_IFDIR: "is a directory",
    stat.S_IFIFO: "is a named pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}


def refuse_special(path: Path) -> None:
    """Refuse a path to anything but a regular file: opening a pipe may wait forever.

    Raises:
        OSError: if it is a directory, pipe, socket or device, or cannot be examined;
            `strerror` has the reason.
    """
    _refuse(path.stat(), path)


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: the file; links are followed.
        max_bytes: refuse larger files without reading them.

    Raises:
        OSError: if it is not a regular file, too large, or unreadable; `strerror` has the reason.
    """
    refuse_special(path)
    # Opened without waiting, and checked again: the path may name another file by now.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        _refuse(status, path)
        # Some system files have the size 0, and others grow: the size is checked again.
        data = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
    if max(len(data), status.st_size) > max_bytes:
        raise OSError(errno.EFBIG, f"more than {max_bytes} bytes", str(path))
    return data


def _refuse(status: os.stat_result, path: Path) -> None:
    kind = KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(number, kind, str(path))


def write_file(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file under a temporary name and move it into place: all of it, or nothing.

    Args:
        path: where to; missing folders are made.
        data: all of it.
        replace: whether a file that is there already may be replaced.

    Raises:
        FileExistsError: if something is there already, and `replace` is not set.
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.parent / f".facewire-{token_hex(8)}.part"
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        take_name(scratch, path, replace=replace)
    finally:
        scratch.unlink(missing_ok=True)


def take_name(scratch: Path, path: Path, *, replace: bool) -> None:
    """Rename a complete file to its name, atomically; see `write_file` for the errors."""
    if replace:
        if path.exists():
            refuse_special(path)
        scratch.replace(path)
        return
    try:
        os.link(scratch, path)  # atomic: never replaces a file created meanwhile
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "exists already", str(path)) from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists already", str(path)) from None
        scratch.replace(path)
