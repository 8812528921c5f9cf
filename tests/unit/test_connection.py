"""What the kernel shows of a connection is read without touching a mount, and missing things do no harm."""

import os

import pytest

from fsmount import connection


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Return a directory that stands for /sys/fs/fuse/connections, /proc/sys/fs/fuse and /proc."""
    for name in ("_CONNECTIONS", "_LIMITS", "_PROC"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(connection, name, tmp_path / name)
    return tmp_path


def add_process(kernel, pid: int, *devices: str | None) -> None:
    """Add a process whose descriptors are /dev/fuse with this connection, or, for None, something else."""
    for directory in ("fd", "fdinfo"):
        (kernel / "_PROC" / str(pid) / directory).mkdir(parents=True)
    for fd, number in enumerate(devices):
        target = "/dev/null" if number is None else "/dev/fuse"
        (kernel / "_PROC" / str(pid) / "fd" / str(fd)).symlink_to(target)
        info = "pos:\t0\n" + (f"fuse_connection:\t{number}\n" if number else "")
        (kernel / "_PROC" / str(pid) / "fdinfo" / str(fd)).write_text(info)


@pytest.mark.parametrize(
    ("default_s", "longest_s", "expected"),
    [("0", "0", None), ("0", "15", 15), ("30", "0", 30), ("30", "15", 15), ("10", "15", 10)],
)
def test_the_kernels_limit_is_the_stricter_of_two(kernel, default_s, longest_s, expected):
    """0 stands for none in both."""
    (kernel / "_LIMITS" / "default_request_timeout").write_text(default_s + "\n")
    (kernel / "_LIMITS" / "max_request_timeout").write_text(longest_s + "\n")
    assert expected == connection.request_timeout_s()


def test_older_kernels_have_no_limit(kernel):
    """The files came with Linux 6.15."""
    assert connection.request_timeout_s() is None


def test_the_processes_behind_a_connection_are_found(kernel):
    """By the connection's number, among processes of all kinds."""
    add_process(kernel, 10, None, "42")
    add_process(kernel, 11, "43")
    add_process(kernel, 12, None)
    add_process(kernel, 13, "42", "43")
    (kernel / "_PROC" / "self").mkdir()
    (kernel / "_PROC" / "14").mkdir()  # another user's: nothing to be seen in it
    assert [10, 13] == sorted(connection.servers(42))
    assert [] == connection.servers(44)


def test_kernels_that_do_not_tell_the_number_find_nobody(kernel):
    """Then there is nothing to wait for, and nobody is taken for somebody else."""
    add_process(kernel, 10, "")
    assert [] == connection.servers(42)


def test_aborting_writes_to_the_kernels_file(kernel):
    """Any write does it; without the file, or the right to write it, the answer is no."""
    (kernel / "_CONNECTIONS" / "42").mkdir()
    assert connection.abort(42)
    assert "1" == (kernel / "_CONNECTIONS" / "42" / "abort").read_text()
    assert not connection.abort(43)


def test_limits_are_set_where_they_can_be(kernel):
    """A limit that can't be set is no error: the mount works with the kernel's own."""
    (kernel / "_CONNECTIONS" / "42").mkdir()
    assert connection.exists(42)
    assert connection.set_limit(42, "max_background", 64)
    assert "64" == (kernel / "_CONNECTIONS" / "42" / "max_background").read_text()
    assert not connection.exists(43)
    assert not connection.set_limit(43, "max_background", 64)


def test_this_process_has_no_connection():
    """Nothing is mounted here; opening the device alone makes a descriptor, and it is found."""
    assert [] == connection.open_devices()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        return  # where there is no device, finding none is all that can be shown
    try:
        assert [device] == connection.open_devices()
        assert connection.is_lost(device), "a device without a mount has no connection"
    finally:
        os.close(device)


def test_a_closed_descriptor_is_lost():
    """There is nobody behind it."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    os.close(write_fd)
    assert connection.is_lost(read_fd)
