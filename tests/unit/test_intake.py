"""Bytes on their way into the spool: written, compared, and hashed beside it."""

import hashlib
import os

import pytest
import trio
import trio.testing

from fsmount.digest import Expected
from fsmount.disk import Disk
from fsmount.intake import Intake
from fsmount.spool import Spool, SpoolConflictError

MIB = 1 << 20
BODY = os.urandom(3 * MIB)


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
            end = await intake.write(part * MIB, [BODY[part * MIB : (part + 1) * MIB]])
            assert (part + 1) * MIB == end
        await trio.testing.wait_all_tasks_blocked()
    assert intake.has_hashed(len(BODY))
    verdict = intake.verdict(Expected("claude_file_01x", len(BODY), None), None)
    assert hashlib.sha256(BODY).hexdigest() == verdict.sha256
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
        await intake.write(0, [b"first"])
        with pytest.raises(SpoolConflictError):
            await intake.write(0, [b"other"])
        assert b"first" == await intake.read(0, 5)
    intake.spool.close()


async def test_giving_up_ends_the_hashing_too(tmp_path):
    """A spool that is closed while its hash is behind starts no further turn, and tells nobody."""
    hashed = Hashed()
    async with trio.open_nursery() as nursery:
        intake = Intake(
            Spool(tmp_path / "s"),
            nursery=nursery,
            disk=Disk(),
            on_hashed=hashed.append,
        )
        await intake.write(0, [BODY])
        intake.spool.discard()
        with trio.fail_after(5):
            await trio.testing.wait_all_tasks_blocked()
    assert not intake.is_hashing
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
        await intake.write(MIB, [BODY[MIB:]])
        os.truncate(tmp_path / "s", 0)
        intake.spool.note_written(0, MIB)
        intake.hash_on()
        await trio.testing.wait_all_tasks_blocked()
    assert isinstance(hashed[-1], OSError)
    intake.spool.close()
