"""Bytes that the emulator serves: held in memory, or made from an offset so that size costs nothing.

Only bytes and their MD5 live here; names, records and HTTP are kept out.
"""

import functools
import hashlib
import random
from typing import Protocol

# A prime just above 1 MiB: a reader that is off by any number of pages, or by a MiB, sees other bytes.
# (A power of two as period would hide exactly the mistakes that block-wise readers make.)
_PERIOD = 1_048_583

# Longest slice that one call returns; senders ask for less.
MAX_SLICE_BYTES = 4 * _PERIOD

# Hashing in slices of this size runs at the speed of the hash and needs no further memory.
_HASH_SLICE_BYTES = 1 << 20


class Content(Protocol):
    """The bytes of one file.

    Shape: `read` returns at most `size` bytes from `offset`, fewer only at the end of the file.
    Units: `size_bytes` and offsets in bytes; `md5` is the raw digest of all of them.
    """

    @property
    def size_bytes(self) -> int:
        """Return the length of the file."""

    @property
    def md5(self) -> bytes:
        """Return the digest of the whole file (worked out once, then remembered)."""

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Return the bytes from `offset`, at most `size` (bounded by `MAX_SLICE_BYTES`)."""


class BytesContent:
    """Content that is simply held in memory."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.size_bytes = len(data)
        self.md5 = hashlib.md5(data, usedforsecurity=False).digest()

    def read(self, offset: int, size: int) -> memoryview:
        """Return a view; nothing is copied."""
        return self._view[offset : offset + size]


class PatternContent:
    """Content of any size that takes no memory: a shared pattern, started at an own place.

    `shift` tells files of one size apart; `is_text` gives lines of words instead of random bytes.
    """

    def __init__(self, size_bytes: int, *, shift: int = 0, is_text: bool = False) -> None:
        self.size_bytes = size_bytes
        self._shift = shift % _PERIOD
        self._is_text = is_text

    @property
    def md5(self) -> bytes:
        """Return the digest of the whole file; about 1.6 s for the first GiB asked for."""
        return _pattern_md5(self.size_bytes, self._shift, self._is_text)

    def read(self, offset: int, size: int) -> memoryview:
        """Return a view into the shared pattern; nothing is copied."""
        wanted = max(0, min(size, self.size_bytes - offset, MAX_SLICE_BYTES))
        start = (offset + self._shift) % _PERIOD
        return _pattern(self._is_text)[start : start + wanted]


@functools.cache
def _pattern(is_text: bool) -> memoryview:
    """Return the pattern five times over, so that every slice of four periods is contiguous."""
    rng = random.Random(20260301)  # noqa: S311  not a secret: the same bytes on every machine
    if not is_text:
        return memoryview(rng.randbytes(_PERIOD) * 5)
    words = ("ledger", "invoice", "review", "total", "draft", "approved", "quarter", "note", "copy")
    lines = bytearray()
    while len(lines) < _PERIOD:
        lines += f"{rng.choice(words)} {rng.choice(words)} {rng.randrange(10**6)}\n".encode()
    return memoryview(bytes(lines[:_PERIOD]) * 5)


@functools.lru_cache(maxsize=4096)
def _pattern_md5(size_bytes: int, shift: int, is_text: bool) -> bytes:
    content = PatternContent(size_bytes, shift=shift, is_text=is_text)
    digest = hashlib.md5(usedforsecurity=False)
    for offset in range(0, size_bytes, _HASH_SLICE_BYTES):
        digest.update(content.read(offset, _HASH_SLICE_BYTES))
    return digest.digest()
