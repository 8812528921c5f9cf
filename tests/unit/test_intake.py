"""Bytes on their way into the spool: written, compared, and hashed beside it."""

import hashlib
import os
import threading

import pytest
import trio
import trio.testing

from fsmount.digest import RunningHash
from fsmount.disk import Disk
from fsmount.intake import Intake
from fsmount.spool import Spool, SpoolConflictError

MIB = 1 << 20
BODY = os.urandom(3 * MIB)


async def write(intake: Intake, start: int, pieces: list[bytes]) -> int:
    """Write pieces, one a batch; return where they end."""
    batches = iter([piece] for piece in pieces)
    ends = [start]
    await intake.write(start, lambda: next(batches, []), ends.append)
    return ends[-1]


def hold_hashing(monkeypatch: pytest.MonkeyPatch, which: str | None = None) -> threading.Event:
    """Keep a hash, or both, from following the bytes until the event is set."""
    free = threading.Event()
    catch_up = RunningHash.catch_up

    def late(running: RunningHash, spool: Spool, end: int) -> None:
        if which in {None, running._hash.name}:
            free.wait(10)
        catch_up(running, spool, end)

    monkeypatch.setattr(RunningHash, "catch_up", late)
    return free


class Hashed(list[OSError | None]):
    """What the intake said about its hash."""


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 0, 1, 1, 2]])
async def test_the_hash_follows_in_whatever_order_bytes_come(tmp_path, order):
    """Pieces may come in any order and twice; the hash is that of the whole, in its order."""
    hashed = Hashed()
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"),
            nursery=nursery,
            disk=Disk(),
            on_hashed=hashed.append,
        )
        for part in order:
            end = await write(intake, part * MIB, [BODY[part * MIB : (part + 1) * MIB]])
            assert (part + 1) * MIB == end
        await trio.testing.wait_all_tasks_blocked()
    assert hashlib.md5(BODY).hexdigest() == intake.md5(len(BODY))
    assert hashlib.sha256(BODY).hexdigest() == intake.sha256(len(BODY))
    assert intake.md5(len(BODY) - 1) is None
    assert hashed[-1] is None
    intake.spool.close()


async def test_other_bytes_for_the_same_place_are_refused(tmp_path):
    """What readers may have been given is not replaced."""
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"),
            nursery=nursery,
            disk=Disk(),
            on_hashed=Hashed().append,
        )
        await write(intake, 0, [b"first"])
        with pytest.raises(SpoolConflictError):
            await write(intake, 0, [b"other"])
        assert b"first" == await intake.read(0, 5)
    intake.spool.close()


async def test_giving_up_ends_the_hashing_too(tmp_path, monkeypatch):
    """A spool that is closed while its hash is behind starts no further turn, and tells nobody."""
    free = hold_hashing(monkeypatch)
    hashed = Hashed()
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"), nursery=nursery, disk=Disk(), on_hashed=hashed.append
        )
        await write(intake, 0, [BODY])
        intake.spool.discard()
        free.set()
        with trio.fail_after(5):
            while intake.is_hashing:
                await trio.sleep(0.001)
    assert [] == hashed


async def test_a_disk_that_fails_is_told(tmp_path):
    """An unreadable spool ends in the error, not in a hash of something else."""
    hashed = Hashed()
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"),
            nursery=nursery,
            disk=Disk(),
            on_hashed=hashed.append,
        )
        await write(intake, MIB, [BODY[MIB:]])
        os.truncate(tmp_path / "s", 0)
        intake.note_written(0, MIB)
        intake.hash_on()
        await trio.testing.wait_all_tasks_blocked()
    assert isinstance(hashed[-1], OSError)
    intake.spool.close()


async def test_sha256_gives_way_to_md5(tmp_path, monkeypatch):
    """The reader's last page waits for MD5 alone."""
    free = hold_hashing(monkeypatch, "md5")
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"), nursery=nursery, disk=Disk(), on_hashed=Hashed().append
        )
        await write(intake, 0, [BODY])
        await trio.sleep(0.05)
        assert 0 == intake._digest.sha256.position
        free.set()
    assert hashlib.md5(BODY).hexdigest() == intake.md5(len(BODY))
    assert hashlib.sha256(BODY).hexdigest() == intake.sha256(len(BODY))
    intake.spool.close()


async def test_a_stream_waits_for_a_hash_that_is_far_behind(tmp_path, monkeypatch):
    """What is read back to be hashed is still in memory then, whatever the size of the file."""
    monkeypatch.setattr("fsmount.intake._MOST_BEHIND", MIB)
    free = hold_hashing(monkeypatch)
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"), nursery=nursery, disk=Disk(), on_hashed=Hashed().append
        )
        await write(intake, 0, [BODY])
        with trio.move_on_after(0.05) as waited:
            await intake.let_hash_follow()
        assert waited.cancelled_caught
        free.set()
        with trio.fail_after(5):
            await intake.let_hash_follow()
    intake.spool.close()


async def test_a_fault_of_our_own_in_hashing_is_told_too(tmp_path, monkeypatch, caplog):
    """It ends the download, and never the mount."""

    def broken(*_args: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(RunningHash, "catch_up", broken)
    hashed = Hashed()
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"), nursery=nursery, disk=Disk(), on_hashed=hashed.append
        )
        await write(intake, 0, [BODY])
    assert isinstance(hashed[0], OSError)
    assert "planted" in caplog.text
    intake.spool.close()
