"""MD5 and SHA-256 of a file while its bytes pass, and the verdict over them at the end.

The hash runs over the whole file in order, whatever order the bytes came in: bytes that arrive in
sequence are hashed as they are written, a stretch that was filled in later is read back from the spool.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Literal

from fsmount.spool import Spool

_CATCH_UP_BYTES = 1 << 20

How = Literal["content-md5", "metadata-md5", "none"]


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a file's content before it comes.

    Shape: `size_bytes` and `md5` as the record has them, None when unknown; `acquired_md5` is the hash of
    verified content that the case has held before.
    """

    claude_file_id: str
    size_bytes: int | None
    md5: str | None
    acquired_md5: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a whole body turned out to be.

    Shape: hashes in lowercase hex; `how` says what vouched for them.
    """

    size_bytes: int
    md5: str
    sha256: str
    how: How
    is_mismatch: bool
    promised_md5: str | None

    @property
    def is_verified(self) -> bool:
        """Say whether a digest vouched for the bytes, and matched."""
        return self.how != "none" and not self.is_mismatch


class RunningDigest:
    """Both hashes over the first `position` bytes of a spool."""

    def __init__(self) -> None:
        self.position = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, pieces: Sequence[bytes]) -> None:
        """Take in the bytes that follow `position`; slow, so call it from a thread."""
        for piece in pieces:
            self._md5.update(piece)
            self._sha256.update(piece)
            self.position += len(piece)

    def catch_up(self, spool: Spool, end: int) -> None:
        """Take in what the spool holds from `position` to `end`; slow, so call it from a thread.

        Errors: OSError when the spool can't be read or is shorter than `end`.
        """
        while self.position < end:
            piece = spool.read(self.position, min(_CATCH_UP_BYTES, end - self.position))
            if not piece:
                raise OSError(f"spool {spool.path.name} ends at {self.position}, not at {end}")
            self.update([piece])

    def hexdigests(self) -> tuple[str, str]:
        """Return MD5 and SHA-256 of what was taken in so far, in lowercase hex."""
        return self._md5.hexdigest(), self._sha256.hexdigest()

    def verdict(self, expected: Expected, content_md5: str | None) -> Verdict:
        """Hold the hashes of the whole body against what was promised.

        The digest of the response outranks the record's; content that the case has verified before must
        come again as the same bytes.
        """
        md5, sha256 = self.hexdigests()
        promised = content_md5 or expected.md5
        how: How = "content-md5" if content_md5 else "metadata-md5" if expected.md5 else "none"
        differs = promised is not None and md5 != promised.lower()
        changed = expected.acquired_md5 is not None and md5 != expected.acquired_md5
        return Verdict(
            size_bytes=self.position,
            md5=md5,
            sha256=sha256,
            how=how,
            is_mismatch=differs or changed,
            promised_md5=promised if differs or not changed else expected.acquired_md5,
        )
