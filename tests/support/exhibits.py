"""Files whose contents forensic tools have a known answer for, made here, the same on every machine."""

import io
import random
import sqlite3
import zipfile
from pathlib import Path

from fsmount.demo.samples import _pdf, _png

NEEDLE = b"NEEDLE-7731"
ARTIST = "Ana Example"
SENTENCE = "Travel policy"
LEDGER_TOTAL = 499_500  # the sum of the amounts in the database

_SECTOR = 512
_CARVED_AT = {"png": 40, "pdf": 800}  # sectors of the disk image where files begin


def exhibits(place: Path) -> dict[str, bytes]:
    """Return contents by name; `place` is for files that are made on the way."""
    notes = b"nothing to see\n" * 2_000 + NEEDLE + b"\n"
    document = _pdf(SENTENCE)
    return {
        "notes.txt": notes,
        "notes (copy).txt": notes,
        "policy.pdf": document,
        "photo.jpg": _photo(),
        "scan.png": _png(64, 48),
        "ledger.sqlite": _database(place / "ledger.sqlite"),
        "disk.img": _disk_image({"png": _png(64, 48), "pdf": document}),
        "bundle.zip": _archive({"inside/notes.txt": notes}),
        "random.bin": random.Random(7).randbytes(700_001),
        "empty.txt": b"",
    }


def _photo() -> bytes:
    """Return a picture with nothing but who took it: tools for metadata read no further."""
    name = ARTIST.encode() + b"\0"
    entry = b"\x01\x3b\x00\x02" + len(name).to_bytes(4, "big") + (26).to_bytes(4, "big")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + b"\0\0\0\0" + name
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    pixels = random.Random(3).randbytes(4_000).replace(b"\xff", b"\xfe")
    return b"\xff\xd8" + segment + b"\xff\xda\0\x08\x01\x01\0\0?\0" + pixels + b"\xff\xd9"


def _database(path: Path) -> bytes:
    """Return a database as programs leave it that keep a write-ahead log."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = wal")
        database.execute("CREATE TABLE ledger (number INTEGER PRIMARY KEY, amount INTEGER)")
        database.executemany("INSERT INTO ledger VALUES (?, ?)", ((n, n) for n in range(1_000)))
    database.close()
    return path.read_bytes()


def _disk_image(files: dict[str, bytes]) -> bytes:
    image = bytearray(_SECTOR * 2_000)
    for kind, data in files.items():
        start = _CARVED_AT[kind] * _SECTOR
        image[start : start + len(data)] = data
    return bytes(image)


def _archive(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, data in files.items():
            writer.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return archive.getvalue()
