"""Writing a file whole or not at all."""

import errno
import os
import stat
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nn_any.core import options

if sys.platform != "win32":
    import fcntl

_LONGEST_NAME = 255 - len(".") - len(".") - 32 - len(".tmp")  # bytes of a file's name that a temporary name can repeat
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


def as_path(path: str | os.PathLike[str]) -> Path:
    """`path` itself, once it has turned out to be one."""
    return options.path("path", path, "model.safetensors")


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, so that at any moment the old file or the new one is there, whole.

    It goes to a temporary file in the same folder, is flushed to the disk, and takes the name and the permissions of
    the old file in one move; then the folder itself is flushed. If anything fails, the old file stays and the temporary
    one goes. What a writer that was killed has left for the same path is removed by the next one; the temporary file of
    a writer that is alive is locked, and is let alone. A symbolic link stays, and what it points to is replaced.

    Raises
    ------
    OSError
        If it cannot be written; the message names `path`. `FileNotFoundError` if its folder is missing,
        `IsADirectoryError` if it is a folder.
    """
    target = Path(os.path.realpath(as_path(path)))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path: expected a folder to write {path} in, found none; make {target.parent} first")
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "expected a file to write, got a directory", str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "expected a file to write, got a device or a pipe", str(path))
    try:
        _sweep(target)
        _replace(target, content)
        _sync_folder(target.parent)
    except OSError as error:  # it names the temporary file, which nobody has heard of
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, content: bytes) -> None:
    descriptor, temporary = _temporary(target)
    try:
        try:
            with suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
            if os.name == "posix":  # renamed while the lock is held; Windows renames no open file
                os.replace(temporary, target)
        finally:
            os.close(descriptor)
        if os.name != "posix":
            os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _temporary(target: Path) -> tuple[int, Path]:
    """A new, locked file beside `target`, and its name: ``.name.<hex>.tmp``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        temporary = target.with_name(f"{_prefix(target)}{uuid.uuid4().hex}.tmp")
        descriptor = os.open(temporary, flags, 0o666)
        if _lock(descriptor) and os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)  # another writer has just taken it for one that was left behind
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    return f".{os.fsencode(target.name)[:_LONGEST_NAME].decode(errors='ignore')}."


def _lock(descriptor: int) -> bool:
    """Whether no other process has the file locked; it is locked now, where that can be had."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def claim(path: str | os.PathLike[str]) -> Callable[[], None] | None:
    """Claim a path for one writer, whatever its process; returns how to give it back, or None if another has it.

    The claim is a locked file beside it, ``.name.lock``, which is removed in the end. The system drops the lock of a
    process that dies. Where files cannot be locked every claim succeeds.
    """
    if sys.platform == "win32":
        return lambda: None
    target = Path(os.path.realpath(path))
    claimed = target.with_name(f"{_prefix(target)}lock")
    while True:
        try:
            descriptor = os.open(claimed, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:  # the folder cannot be written, and neither will the file be
            return lambda: None
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # the writer before has just removed it

    def release() -> None:
        with suppress(OSError):
            claimed.unlink()
        os.close(descriptor)

    return release


def _sweep(target: Path) -> None:
    """Remove what killed writers have left for `target`: temporary files that nobody has locked."""
    if sys.platform == "win32":
        return
    prefix, names = _prefix(target), list[str]()
    with suppress(OSError):  # a folder may be for writing only
        names = os.listdir(target.parent)
    left = [name for name in names if name.startswith(prefix) and name.endswith(".tmp")]
    for name in left:
        if len(name) != len(prefix) + 36:
            continue
        with suppress(OSError):
            descriptor = os.open(target.with_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(target.with_name(name))
            finally:
                os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
