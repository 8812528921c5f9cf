"""What mounting asks of the kernel, and what it says when that is refused."""

import os
from pathlib import Path

import pyfuse3
import pytest

from fsmount import attach, connection
from fsmount.attach import Attachment, mount_options, source_of
from fsmount.config import MountSettings, SecretKey
from fsmount.errors import MountError
from fsmount.mountpoint import Mounted

SAFE = {"nosuid", "nodev", "noexec", "noatime", "default_permissions", "subtype=fsmount"}


def settings(
    mountpoint: Path = Path("/mnt"), *, allow_delete: bool = False, allow_other: bool = False
) -> MountSettings:
    return MountSettings(
        case="c",
        mountpoint=mountpoint,
        key=SecretKey("sk-ant-api01-test"),
        allow_delete=allow_delete,
        allow_other=allow_other,
    )


@pytest.mark.parametrize("allow_other", [False, True])
@pytest.mark.parametrize("allow_delete", [False, True])
def test_the_kernel_itself_refuses_what_is_not_allowed(allow_delete, allow_other):
    """Read-only unless deleting is allowed; never devices, programs or set-uid."""
    options = mount_options(settings(allow_delete=allow_delete, allow_other=allow_other), "case")
    assert SAFE | {"fsname=case"} <= options
    assert ("ro" not in options) == allow_delete
    assert ("allow_other" in options) == allow_other
    assert options == {option for option in options if option.isascii()}


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("case-1", "fsname=case-1"),
        ("a,allow_other", r"fsname=a\,allow_other"),
        ("back\\slash", r"fsname=back\\slash"),
        ("Fälle", "fsname=F?lle"),
    ],
)
def test_a_case_name_is_no_option(name, option):
    """A comma would begin the next option, and the library takes ASCII only."""
    assert option in mount_options(settings(), name)
    assert source_of(name).isascii()


@pytest.fixture
def session(monkeypatch, tmp_path):
    """Replace library and kernel; return what was called and what the mount table holds."""

    class Session:
        def __init__(self) -> None:
            self.calls: list[tuple[str, object]] = []
            self.table: list[Mounted] = []
            self.devices: list[int] = []
            self.is_lost = False

    session = Session()

    def init(_operations: object, mountpoint: str, _options: set[str]) -> None:
        session.calls.append(("init", mountpoint))
        session.devices.append(9)
        session.table.append(Mounted(mountpoint, "fuse.fsmount", "c", 42))

    def detach(path: Path) -> None:
        session.calls.append(("detach", str(path)))
        session.table.pop()
        session.is_lost = True

    monkeypatch.setattr(pyfuse3, "init", init)
    monkeypatch.setattr(pyfuse3, "close", lambda unmount: session.calls.append(("close", unmount)))
    monkeypatch.setattr(attach, "detach", detach)
    monkeypatch.setattr(
        attach, "find_mount", lambda _: session.table[-1] if session.table else None
    )
    monkeypatch.setattr(connection, "open_devices", lambda: list(session.devices))
    monkeypatch.setattr(connection, "is_lost", lambda _: session.is_lost)
    monkeypatch.setattr(connection, "abort", lambda number: session.calls.append(("abort", number)))
    return session


def test_closing_takes_the_mount_away_once(session, tmp_path):
    """Out of the tree first, then the session is given back; again is nothing."""
    attachment = Attachment(pyfuse3.Operations(), settings(tmp_path), "c")
    assert attachment.is_mounted
    attachment.close()
    attachment.close()
    path = str(tmp_path)
    assert [("init", path), ("detach", path), ("close", False)] == session.calls
    assert not attachment.is_left_behind


def test_who_still_waits_in_a_detached_mount_is_freed(session, tmp_path, monkeypatch):
    """With files open, the connection outlives the mountpoint; it is cut."""
    attachment = Attachment(pyfuse3.Operations(), settings(tmp_path), "c")
    monkeypatch.setattr(attach, "detach", lambda _: session.table.pop())
    attachment.detach()
    assert ("abort", 42) in session.calls


def test_the_next_mount_in_the_same_place_is_left_alone(session, tmp_path):
    """It may even have the same number, once this connection is gone."""
    attachment = Attachment(pyfuse3.Operations(), settings(tmp_path), "c")
    session.table.clear()  # somebody unmounted
    session.is_lost = True
    attachment.detach()
    session.table.append(Mounted(str(tmp_path), "fuse.fsmount", "other", 42))
    attachment.close()
    assert [("init", str(tmp_path)), ("close", False)] == session.calls


def test_somebody_elses_mount_on_top_is_left_alone(session, tmp_path):
    """Only this mount is taken away; its connection is cut all the same."""
    attachment = Attachment(pyfuse3.Operations(), settings(tmp_path), "c")
    session.table.append(Mounted(str(tmp_path), "tmpfs", "t", 43))
    attachment.close()
    assert [("init", str(tmp_path)), ("abort", 42), ("close", False)] == session.calls


def test_a_mount_that_cannot_be_taken_away_is_said(session, tmp_path, monkeypatch, caplog):
    """Closing goes on, and whoever reads the log knows what to run."""

    def refuse(_path: Path) -> None:
        raise MountError("it can't be unmounted: not permitted")

    attachment = Attachment(pyfuse3.Operations(), settings(tmp_path), "c")
    monkeypatch.setattr(attach, "detach", refuse)
    attachment.close()
    assert attachment.is_left_behind
    assert f"run: fsmount unmount {tmp_path}" in caplog.text


def test_one_process_serves_one_mount(session, tmp_path):
    """The library would lose the first without a word."""
    Attachment(pyfuse3.Operations(), settings(tmp_path), "c")
    with pytest.raises(MountError, match="serves a mount already"):
        Attachment(pyfuse3.Operations(), settings(tmp_path), "c")


def test_what_libfuse_prints_is_the_reason_of_the_error(session, tmp_path, monkeypatch, capfd):
    """The library's exception says only that it failed."""

    def init(*_: object) -> None:
        os.write(2, b"fusermount3: mount failed:\nOperation not permitted\n")
        raise RuntimeError("fuse_session_mount failed")

    monkeypatch.setattr(pyfuse3, "init", init)
    with pytest.raises(MountError) as raised:
        Attachment(pyfuse3.Operations(), settings(tmp_path), "c")
    assert "fusermount3: mount failed: Operation not permitted" in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert "" == capfd.readouterr().err
    os.write(2, b"stderr is itself again")
    assert "stderr is itself again" == capfd.readouterr().err


@pytest.mark.parametrize(
    ("conf", "is_privileged", "is_allowed"),
    [
        (None, False, False),
        ("# user_allow_other\n", False, False),
        ("mount_max = 10\n user_allow_other \n", False, True),
        (None, True, True),
    ],
)
def test_letting_others_in_needs_roots_consent(
    session, tmp_path, monkeypatch, conf, is_privileged, is_allowed
):
    """As a line in fuse.conf; who may mount without fusermount3 needs none."""
    monkeypatch.setattr(connection, "FUSE_CONF", tmp_path / "fuse.conf")
    monkeypatch.setattr(attach, "_may_mount_itself", lambda _status: is_privileged)
    if conf is not None:
        (tmp_path / "fuse.conf").write_text(conf)
    if is_allowed:
        Attachment(pyfuse3.Operations(), settings(tmp_path, allow_other=True), "c")
        return
    with pytest.raises(MountError, match=r"user_allow_other in .*fuse\.conf"):
        Attachment(pyfuse3.Operations(), settings(tmp_path, allow_other=True), "c")
    assert [] == session.calls


@pytest.mark.parametrize(
    ("capabilities", "euid", "expected"),
    [
        ("CapEff:\t0000000000200000\n", 1000, True),
        ("CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffdfffff\n", 0, False),
        ("CapPrm:\t000001ffffffffff\n", 0, True),
        ("CapPrm:\t000001ffffffffff\n", 1000, False),
    ],
    ids=["set", "clear", "absent for root", "absent for others"],
)
def test_the_right_to_mount_is_a_capability(monkeypatch, capabilities, euid, expected):
    """Root may have lost it, a service may have been given it; where it is not told, root has it."""
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    status = f"Name:\tfsmount\nUid:\t{euid}\t{euid}\t{euid}\t{euid}\n{capabilities}Threads:\t1\n"
    assert expected == attach._may_mount_itself(status)
