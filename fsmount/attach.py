"""Attaching a file system to its mountpoint, and taking it away again.

The library keeps one session in global variables: one process, one mount, and both ends of it are here.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyfuse3

from fsmount import connection
from fsmount.config import MountSettings
from fsmount.errors import MountError
from fsmount.mountpoint import detach, find_mount

log = logging.getLogger(__name__)

# Measured on a loopback GiB, cold: 380 MB/s with the kernel's 128 KiB, 420 with 512, 360 with 1024.
_READ_AHEAD_KIB = 512
_CAP_SYS_ADMIN = 1 << 21
_STATUS = Path("/proc/self/status")


class Attachment:
    """The mount of this process.

    Errors: MountError from the constructor, when there is one already, or mounting failed.
    """

    def __init__(self, operations: pyfuse3.Operations, settings: MountSettings, name: str) -> None:
        if connection.open_devices():
            raise MountError("this process serves a mount already; start another one for the next")
        _check_allow_other(settings)
        self._mountpoint = settings.mountpoint
        with _passing_on_complaints(self._mountpoint):
            pyfuse3.init(operations, os.fspath(self._mountpoint), mount_options(settings, name))
        self._is_open = self._is_attached = True
        self._device = connection.open_devices()[0]
        mounted = find_mount(self._mountpoint)
        self._number = mounted.number if mounted else -1
        self.is_left_behind = False  # whether taking it away failed

    @property
    def is_lost(self) -> bool:
        """Say whether the kernel has given up the connection: nobody asks, and nobody can be answered."""
        return connection.is_lost(self._device)

    @property
    def is_mounted(self) -> bool:
        """Say whether the mountpoint still shows this mount, answering or dead."""
        mounted = find_mount(self._mountpoint)
        return mounted is not None and mounted.number == self._number

    def tune(self) -> None:
        """Let more readers in at once, and larger reads come, where that is permitted."""
        connection.set_limit(self._number, "max_background", connection.MAX_BACKGROUND)
        connection.set_limit(
            self._number, "congestion_threshold", connection.MAX_BACKGROUND * 3 // 4
        )
        connection.set_read_ahead(self._number, _READ_AHEAD_KIB)

    def stop_answering(self) -> None:
        """Take no more requests; those under way are still answered, and `serve` returns after them."""
        pyfuse3.terminate()

    def detach(self) -> None:
        """Take the mount out of the tree and free whoever waits for an answer of it; never raises.

        Without the second half, one of our own threads that tells the kernel something could wait in there
        for a request that nobody will answer, and the process would never end. Only the first call does
        anything: later, the next mount may be where this one was, under the same number.
        """
        if not self._is_attached:
            return
        self._is_attached = False
        if self.is_mounted:
            try:
                detach(self._mountpoint)
            except MountError as error:
                self.is_left_behind = True
                log.error("%s; run: fsmount unmount %s", error, self._mountpoint)
        if not self.is_lost:
            connection.abort(self._number)

    def close(self) -> None:
        """Detach, and give the session back; the second call does nothing."""
        if self._is_open:
            self.detach()
            self._is_open = False
            pyfuse3.close(unmount=False)


def source_of(name: str) -> str:
    """Return the name of a case as the mount table shows it: the library takes ASCII only."""
    return name.encode("ascii", "replace").decode()


def mount_options(settings: MountSettings, name: str) -> set[str]:
    """Return the options of mount(2); the kernel itself refuses writing without --allow-delete."""
    escaped = source_of(name).replace("\\", "\\\\").replace(",", "\\,")
    options = {f"fsname={escaped}", "subtype=fsmount", "default_permissions"}
    options |= {"nosuid", "nodev", "noexec", "noatime"}
    if not settings.allow_delete:
        options.add("ro")
    if settings.allow_other:
        options.add("allow_other")
    return options


@contextlib.contextmanager
def _passing_on_complaints(mountpoint: Path) -> Iterator[None]:
    """Make what libfuse or fusermount3 print on stderr the reason of the error: it has no other."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        saved = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except (RuntimeError, OSError) as error:
            said.seek(0)
            reason = " ".join(said.read().decode(errors="replace").split()) or str(error)
            raise MountError(
                f"can't mount on {mountpoint}: {reason}; is /dev/fuse there and permitted?"
            ) from error
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _check_allow_other(settings: MountSettings) -> None:
    if not settings.allow_other or _may_mount_itself(_STATUS.read_text(errors="replace")):
        return
    if connection.others_are_allowed():
        return
    raise MountError(
        f"--allow-other needs a line user_allow_other in {connection.FUSE_CONF}; ask root to add it"
    )


def _may_mount_itself(status: str) -> bool:
    """Say by this process's status whether it mounts without fusermount3, which would ask fuse.conf."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) & _CAP_SYS_ADMIN)
    return os.geteuid() == 0
