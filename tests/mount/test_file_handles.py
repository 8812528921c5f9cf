"""File handles, with which servers of NFS name files, stay good when the kernel has forgotten the file."""

import ctypes
import dataclasses
import errno
import os
from pathlib import Path

import pytest

from tests.support.collecting import collect

BODY = b"content of a file\n" * 1_000
LIBC = ctypes.CDLL(None, use_errno=True)


class _Handle(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint),
        ("kind", ctypes.c_int),
        ("data", ctypes.c_ubyte * 128),
    )


@dataclasses.dataclass
class FileHandle:
    """A handle as name_to_handle_at(2) gives it."""

    kind: int
    data: bytes

    @classmethod
    def of(cls, path: Path) -> "FileHandle":
        """Return that of a file, or of the link itself."""
        handle, mount_id = _Handle(128), ctypes.c_int()
        arguments = (-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount_id), 0)
        assert LIBC.name_to_handle_at(*arguments) == 0, os.strerror(ctypes.get_errno())
        return cls(handle.kind, bytes(handle.data[: handle.size]))

    def open(self, mountpoint: Path, flags: int = os.O_RDONLY) -> int:
        """Open the file in a mount; a negative errno when it can't be."""
        handle = _Handle(len(self.data), self.kind, tuple(self.data))
        root = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fd: int = LIBC.open_by_handle_at(root, ctypes.byref(handle), flags)
            return fd if fd >= 0 else -ctypes.get_errno()
        finally:
            os.close(root)


@pytest.fixture
def case(mount, emulator, tmp_path):
    """Collect a case with a chat in a project."""
    corpus = emulator.corpus
    ana = corpus.add_user("ana@example.com", "Ana")
    attached = corpus.add_file(BODY, filename="policy.pdf", mime_type="application/pdf")
    project = corpus.add_project("Audit", user=ana, files=[attached])
    chat = corpus.add_chat("Report", user=ana, project=project)
    file_id = corpus.add_file(BODY, filename="a.txt", mime_type="text/plain")
    corpus.add_message(chat, "look", files=[file_id])
    collect(emulator, tmp_path / "case")
    return file_id


def test_a_handle_outlives_the_mount(mount, emulator, case):
    """Every node that a server of NFS may be asked for is found again in the next mount, by its number."""
    with mount(emulator) as mounted:
        paths = [mounted.path, *sorted(mounted.path.rglob("*"))]
        handles = {path: FileHandle.of(path) for path in paths}
        found_at = {path: os.lstat(path).st_ino for path in paths}
    assert 17 == len(paths)
    with mount(emulator) as mounted:
        for path in reversed(paths):  # what is deepest first: nothing above it is known yet
            fd = handles[path].open(mounted.path, os.O_PATH | os.O_NOFOLLOW)
            assert fd >= 0, (path, os.strerror(-fd))
            try:
                assert found_at[path] == os.fstat(fd).st_ino
                if os.path.isdir(path) and not os.path.islink(path):  # connected up to the root
                    assert str(path) == os.readlink(f"/proc/self/fd/{fd}")
            finally:
                os.close(fd)
        fd = handles[mounted.path / case / "a.txt"].open(mounted.path)
        with os.fdopen(fd, "rb") as file:
            assert BODY == file.read()


@pytest.mark.parametrize("number", [0, 7, 40_000, 1 << 60, 1 << 62 | 15 << 58, (1 << 64) - 1])
def test_a_handle_of_no_file_is_stale(mount, emulator, case, number):
    """Clients may send any handle; the mount lives on."""
    with mount(emulator) as mounted:
        genuine = FileHandle.of(mounted.path / case / "meta.json")
        parts = (
            number >> 32,
            number & 0xFFFFFFFF,
        )  # as the kernel lays a number out, then a generation
        data = b"".join(part.to_bytes(4, "little") for part in (*parts, 0))
        fd = FileHandle(genuine.kind, data).open(mounted.path)
        assert fd in {-errno.ESTALE, -errno.EINVAL}
        assert os.listdir(mounted.path)
