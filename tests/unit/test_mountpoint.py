"""Mountpoints are judged by the mount table; each unusable one gets a line that says what to do."""

import contextlib
import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsmount import connection, mountpoint
from fsmount.errors import MountError
from fsmount.mountpoint import Mounted, check_outside, find_mount, mounts, prepare, resolve, unmount

OURS = "47 27 0:42 / {path} ro,nosuid - fuse.fsmount case ro,user_id=0"


@pytest.fixture
def table(monkeypatch):
    """Return a list of lines that stands for the mount table."""
    lines: list[str] = []
    monkeypatch.setattr(mountpoint, "mounts", lambda: [mountpoint._parse(line) for line in lines])
    return lines


def test_the_mount_table_of_this_machine_can_be_read():
    """Whatever is mounted here, the root is among it."""
    assert "/" in {mount.path for mount in mounts()}
    assert find_mount(Path("/proc")) is not None
    assert find_mount(Path("/nowhere")) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "47 27 0:42 / /mnt ro,nosuid shared:7 master:1 - fuse.fsmount my\\040case rw",
            Mounted("/mnt", "fuse.fsmount", "my case", 42),
        ),
        (
            "1 2 0:5 / /a\\040b\\011c\\134d\\043e rw - tmpfs no\\0431 rw",
            Mounted("/a b\tc\\d#e", "tmpfs", "no#1", 5),
        ),
        ("1 2 8:1 / /back\\134040slash rw - ext4 /dev/sda1 rw", None),
    ],
)
def test_lines_of_the_mount_table(line, expected):
    """Optional fields vary in number, and special characters are octal, undone exactly once."""
    expected = expected or Mounted("/back\\040slash", "ext4", "/dev/sda1", 1)
    assert expected == mountpoint._parse(line)


def test_the_topmost_mount_counts(table, tmp_path):
    """Later mounts hide earlier ones on the same path; those below it are others."""
    table += [
        OURS.format(path=tmp_path),
        f"48 47 0:43 / {tmp_path} rw - tmpfs top rw",
        f"49 48 0:44 / {tmp_path}/sub rw - tmpfs below rw",
    ]
    found = find_mount(tmp_path)
    assert found is not None
    assert ("top", 43) == (found.source, found.number)


def test_an_empty_directory_will_do(tmp_path):
    """That is all that is asked for."""
    prepare(tmp_path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, ["does not exist", "mkdir"]),
        (Path.touch, ["not a directory"]),
        (lambda path: (path.mkdir(), (path / "x").touch()), ["not empty"]),
        (lambda path: path.symlink_to(path), ["can't be used"]),
    ],
)
def test_an_unusable_mountpoint_says_how_to_mend_it(tmp_path, make, words):
    """One line, with the path and what to do."""
    make(tmp_path / "mnt")
    with pytest.raises(MountError) as raised:
        prepare(tmp_path / "mnt")
    message = str(raised.value)
    assert [] == [word for word in [*words, str(tmp_path / "mnt")] if word not in message]
    assert "\n" not in message


@pytest.mark.parametrize(
    ("fs_type", "hint"),
    [
        ("fuse.fsmount", "fsmount unmount "),
        ("fuse.sshfs", "fusermount3 -uz "),
        ("ext4", "umount "),
    ],
)
def test_what_is_mounted_already_is_named_with_the_way_out(
    table, tmp_path, monkeypatch, fs_type, hint
):
    """A living mount, of ours or of others, is never cleared away."""
    monkeypatch.setattr(mountpoint, "look", lambda *_: 0)
    table.append(f"48 47 0:43 / {tmp_path} rw - {fs_type} thing rw")
    with pytest.raises(MountError, match=f"thing .*{fs_type}.*: {hint}{tmp_path}$"):
        prepare(tmp_path)


@pytest.mark.parametrize("answer", [None, 0, errno.EACCES, errno.EIO])
def test_only_a_dead_mount_is_cleared(table, tmp_path, monkeypatch, answer):
    """One that hangs, is another user's, or fails, may have readers."""
    monkeypatch.setattr(mountpoint, "look", lambda *_: answer)
    monkeypatch.setattr(mountpoint, "detach", lambda *_: pytest.fail("it was taken away"))
    table.append(OURS.format(path=tmp_path))
    with pytest.raises(MountError, match="mounted on"):
        prepare(tmp_path)


def test_a_dead_mount_of_ours_is_cleared_and_said_so(table, tmp_path, monkeypatch, caplog):
    """However many lie there; whoever reads the log knows that a mount had crashed."""
    monkeypatch.setattr(mountpoint, "look", lambda *_: errno.ENOTCONN)
    monkeypatch.setattr(mountpoint, "detach", lambda *_: table.pop())
    table += [OURS.format(path=tmp_path)] * 2
    prepare(tmp_path)
    assert [f"cleared the dead mount of case from {tmp_path}"] * 2 == caplog.messages


def test_dead_mounts_of_others_are_left_to_them(table, tmp_path, monkeypatch):
    """They may know better; the line says how to unmount."""
    monkeypatch.setattr(mountpoint, "look", lambda *_: errno.ENOTCONN)
    table.append(f"48 47 0:43 / {tmp_path} rw - fuse.sshfs host: rw")
    with pytest.raises(MountError, match="fusermount3 -uz"):
        prepare(tmp_path)


def test_an_automounter_on_the_mountpoint_waits_for_us(table, tmp_path):
    """An automount of systemd keeps the mountpoint and expects the mount on top of it."""
    table.append(f"48 47 0:43 / {tmp_path} rw - autofs systemd-1 rw")
    prepare(tmp_path)


def test_what_the_mount_needs_may_not_lie_below_it(tmp_path):
    """Neither at the mountpoint, nor below it, nor through a link; beside it is fine."""
    mount = tmp_path / "mnt"
    (tmp_path / "link").symlink_to(mount / "deep")
    check_outside(mount, case_directory=tmp_path / "mnt2", key_file=None)
    for inside in (mount, mount / "case", mount / "a/../b", tmp_path / "link" / "case"):
        with pytest.raises(MountError, match=r"key file .* would be hidden"):
            check_outside(mount, key_file=inside)


def test_everything_lies_below_the_root():
    """The separator at its end is the path itself."""
    with pytest.raises(MountError):
        check_outside(Path("/"), case_directory=Path("/tmp/x"))


def test_a_path_is_resolved_to_what_the_mount_table_has(tmp_path, table):
    """Links anywhere in it, and dots; the mount itself is not looked into."""
    real = tmp_path / "real"
    (real / "mnt").mkdir(parents=True)
    (tmp_path / "by_directory").symlink_to(real)
    (tmp_path / "by_name").symlink_to("by_directory/mnt")
    (tmp_path / "again").symlink_to(tmp_path / "by_name")
    for path in ("by_directory/mnt", "by_name", "again", "real/../again", "real/mnt/"):
        assert real / "mnt" == resolve(tmp_path / path)
    assert tmp_path / "absent" == resolve(tmp_path / "absent")
    table.append(OURS.format(path=real / "mnt"))
    assert real / "mnt" == resolve(tmp_path / "again")


def test_a_link_to_itself_does_not_go_on_for_ever(tmp_path):
    """Opening it fails later on, with the system's own words."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert tmp_path / "loop" == resolve(tmp_path / "loop")


def test_looking_at_a_file_system_says_its_errno(tmp_path):
    """By another process, which may wait for it."""
    assert 0 == mountpoint.look(tmp_path)
    assert errno.ENOENT == mountpoint.look(tmp_path / "absent")


def test_looking_at_a_file_system_that_hangs_ends(tmp_path, monkeypatch):
    """The looker is given up after its time."""
    monkeypatch.setattr(mountpoint, "_LOOK", "import time; time.sleep(60)")
    assert mountpoint.look(tmp_path, limit_s=0.2) is None


def test_unmounting_needs_a_mount_of_ours(table, tmp_path):
    """Nothing there, or something else there: both are said, and nothing is touched."""
    with pytest.raises(MountError, match="nothing is mounted"):
        unmount(tmp_path)
    table.append(f"48 47 0:43 / {tmp_path} rw - fuse.sshfs host: rw")
    with pytest.raises(MountError, match=r"is fuse\.sshfs, not a mount of fsmount"):
        unmount(tmp_path)


@pytest.fixture
def unmounting(table, tmp_path, monkeypatch):
    """Return a function that unmounts a mount of ours which these processes serve; times are short."""
    monkeypatch.setattr(mountpoint, "_LAZY_S", 0.1)
    monkeypatch.setattr(mountpoint, "_END_S", 2.0)
    monkeypatch.setattr(mountpoint, "detach", lambda *_: table.pop())
    monkeypatch.setattr(mountpoint, "look", lambda *_: errno.ENOTCONN)
    monkeypatch.setattr(connection, "exists", lambda *_: True)

    def run(*pids: int) -> list[int]:
        aborted: list[int] = []
        monkeypatch.setattr(connection, "servers", lambda *_: list(pids))
        monkeypatch.setattr(connection, "abort", aborted.append)
        table.append(OURS.format(path=tmp_path))
        unmount(tmp_path)
        assert [] == table
        return aborted

    return run


@contextlib.contextmanager
def python(program: str):
    """Run a program that says when it is ready."""
    command = [
        sys.executable,
        "-c",
        f"import signal, time\n{program}\nprint(flush=True)\ntime.sleep(60)",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_unmounting_waits_for_the_process_and_asks_it_to_end(unmounting):
    """One that stays because of open files is ended like any mount."""
    with python("") as process:
        assert [] == unmounting(process.pid)
        assert -15 == process.wait(1)


def test_unmounting_what_does_not_end_frees_its_readers(unmounting, monkeypatch, caplog):
    """The connection is cut, and the process is named; killing it is for a person to decide."""
    monkeypatch.setattr(mountpoint, "_END_S", 0.1)
    with python("signal.signal(15, signal.SIG_IGN)") as process:
        assert [42] == unmounting(process.pid)
        assert str(process.pid) in caplog.text
        assert process.poll() is None


def test_unmounting_a_dead_mount_waits_for_nobody(unmounting):
    """There is no process, and programs that still stand in it keep nothing alive."""
    assert [] == unmounting()


def test_unmounting_as_another_user_asks_fusermount(tmp_path, monkeypatch):
    """What the system call does not permit, the helper may; its own words are passed on."""

    class Library:
        @staticmethod
        def umount2(path: bytes, flags: int) -> int:
            assert (os.fsencode(tmp_path), 2) == (path, flags)
            ctypes.set_errno(errno.EPERM)
            return -1

    calls: list[list[str]] = []

    def fusermount(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", "entry for /x not\nfound\n")

    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: Library)
    monkeypatch.setattr(subprocess, "run", fusermount)
    with pytest.raises(MountError, match="entry for /x not found"):
        mountpoint.detach(tmp_path)
    assert [["fusermount3", "-u", "-z", "--", str(tmp_path)]] == calls


def test_only_a_dead_mount_of_ours_is_cleared(table, tmp_path, monkeypatch):
    """Another file system, one that answers or hangs, or none at all is left alone."""
    detached: list[Path] = []
    answers: list[int | None] = [errno.ENOTCONN]
    monkeypatch.setattr(mountpoint, "look", lambda _: answers[-1])
    monkeypatch.setattr(mountpoint, "detach", detached.append)
    assert not mountpoint.clear_dead(tmp_path)
    table.append(f"48 47 0:43 / {tmp_path} rw - fuse.sshfs host: rw")
    assert not mountpoint.clear_dead(tmp_path)
    table.append(OURS.format(path=tmp_path))
    for answer in (0, None):
        answers.append(answer)
        assert not mountpoint.clear_dead(tmp_path)
    assert [] == detached
    answers.append(errno.ENOTCONN)
    assert mountpoint.clear_dead(tmp_path)
    assert [tmp_path] == detached
