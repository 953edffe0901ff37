"""Whatever fails while a file is written, the old one stays, the temporary one goes, and the error names the path."""

import errno
import os
import subprocess
import sys
import threading

import pytest

import nn_any as nn
from nn_any.files import atomic, write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX file systems")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    return path


CALLS = ["open", "write", "fsync", "replace"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_any_call_may_fail(path, monkeypatch, call, number):
    honest = getattr(os, call)

    def failing(*arguments, **options):
        if call == "open" and not str(arguments[0]).endswith(".tmp"):
            return honest(*arguments, **options)
        raise OSError(number, os.strerror(number), "some temporary name")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, call, failing)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            write_atomically(path, b"new")
    assert (caught.value.errno, caught.value.filename, caught.value.filename2) == (number, str(path), None)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("after", range(4))
def test_a_disk_that_fills_up_in_the_middle(path, monkeypatch, after):
    """Short writes go on; the one that finds no room is told."""
    honest, calls = os.write, []

    def filling(descriptor, data):
        calls.append(len(data))
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(descriptor, data[:3])

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "write", filling)
        with pytest.raises(OSError, match="No space left") as caught:
            write_atomically(path, b"twenty bytes of data")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_short_writes_are_continued(path, monkeypatch):
    honest = os.write
    monkeypatch.setattr(atomic.os, "write", lambda descriptor, data: honest(descriptor, data[:3]))
    write_atomically(path, b"twenty bytes of data")
    assert path.read_bytes() == b"twenty bytes of data"


def test_ctrl_c_leaves_nothing_behind(path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


@posix
def test_a_folder_that_cannot_be_flushed(path, monkeypatch):
    """File systems that have no such thing are no failure; a disk that fails is one, and the new file is whole."""
    honest, number = os.fsync, errno.EINVAL

    def failing(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}") or os.fstat(descriptor).st_mode & 0o170000 == 0o040000:
            raise OSError(number, os.strerror(number))
        honest(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", failing)
    write_atomically(path, b"new")
    number = errno.EIO
    with pytest.raises(OSError, match="error") as caught:
        write_atomically(path, b"newer")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"newer"


@posix
def test_a_real_disk_that_is_full(tmp_path):
    """A file system of 256 KiB, where one may be mounted: in a user namespace of its own, if need be."""
    script = f"""
import os, sys
import nn_any as nn
small, large = (nn.Network([n, 10], device="numpy", seed=0) for n in (100, 20_000))
small.save("model")
old = open("model", "rb").read()
try:
    large.save("model")
except OSError as error:
    assert error.errno == {errno.ENOSPC} and error.filename == "model", error
else:
    sys.exit("a full disk was not noticed")
assert open("model", "rb").read() == old and os.listdir(".") == ["model"], os.listdir(".")
nn.Network.load("model")
print("whole")
"""
    mount = f"mount -t tmpfs -o size=256k none {tmp_path} && cd {tmp_path} && exec {sys.executable} -c '{script}'"
    for how in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        try:
            done = subprocess.run([*how, "sh", "-c", mount], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        if done.stdout.strip() == "whole":
            return
        if "unshare" not in done.stderr and "mount" not in done.stderr:
            pytest.fail(done.stderr)
    pytest.skip("no small file system may be mounted here")


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(path):
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError) as caught:
            write_atomically(path, b"new")
    finally:
        path.parent.chmod(0o700)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"


def test_what_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path, b"x")
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a folder to write .* found none; make"):
        write_atomically(tmp_path / "no" / "file", b"x")
    if os.name == "posix":
        for special in (os.devnull, tmp_path / "pipe"):
            if special != os.devnull:
                os.mkfifo(special)
            with pytest.raises(OSError, match="expected a file to write, got a device or a pipe"):
                write_atomically(special, b"x")
            assert os.path.exists(special)


@posix
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").write_bytes(b"old")
    link = tmp_path / "latest"
    link.symlink_to("run/model")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "run" / "model").read_bytes() == b"new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to("run/other")
    write_atomically(dangling, b"first")
    assert (tmp_path / "run" / "other").read_bytes() == b"first"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "latest", "run"]


@posix
def test_permissions_stay(path):
    path.chmod(0o600)
    write_atomically(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["m" * 255, "ü" * 127, ("m" * 254), "m" * 217, "m" * 218], ids=len)
def test_names_as_long_as_names_may_be(tmp_path, name):
    try:
        (tmp_path / name).write_bytes(b"old")
    except OSError:
        pytest.skip("this file system has shorter names")
    write_atomically(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"
    assert os.listdir(tmp_path) == [name]


@posix
def test_what_killed_writers_left_is_removed_and_what_live_ones_write_is_not(path):
    import fcntl

    hexadecimal = "0123456789abcdef" * 2
    dead, alive = (path.with_name(f".{path.name}.{hexadecimal[i:] + hexadecimal[:i]}.tmp") for i in (0, 1))
    others = [path.with_name(f".other.{hexadecimal}.tmp"), path.with_name(f".{path.name}.notes.tmp")]
    for each in (dead, alive, *others):
        each.write_bytes(b"half")
    with alive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_atomically(path, b"new")
        assert sorted(os.listdir(path.parent)) == sorted(each.name for each in (path, alive, *others))
    write_atomically(path, b"newer")
    assert sorted(os.listdir(path.parent)) == sorted(each.name for each in (path, *others))


def test_threads_that_save_to_one_path(tmp_path):
    path = tmp_path / "model"
    nets = [nn.Network([8, hidden, 3], device="numpy", seed=hidden) for hidden in (4, 60)]
    failed = []

    def save(net):
        try:
            for _ in range(25):
                net.save(path)
        except Exception as error:  # shown by the main thread
            failed.append(error)

    threads = [threading.Thread(target=save, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert repr(nn.Network.load(path)).replace(", 0 epochs", "") in [
        repr(net).replace(", 0 epochs", "") for net in nets
    ]
    assert os.listdir(tmp_path) == ["model"]
