"""The small corpus of the demonstration: a few of everything that real organizations upload.

The documents are made here, byte for byte the same on every machine. All people are made up.
"""

import csv
import io
import struct
import zlib

from .contents import PatternContent
from .corpus import Corpus

_MINUTES = """# Minutes, 2 March 2026

- The forecast for the second quarter was approved.
- The audit starts on 9 March; the ledger goes to the auditors beforehand.
- Open: who signs for the Lisbon office?
"""

_NOTES = """Things to ask before the audit:
1. Why was invoice 4417 paid twice?
2. Where is the signed copy of the Lisbon contract?
"""


def demo_corpus() -> Corpus:
    """Return a small, varied corpus: two people, a project, four chats, about a dozen files."""
    corpus = Corpus()
    corpus.add_organization("Example Holding")
    corpus.add_organization("Example Research")
    ana = corpus.add_user("ana@example.com", "Ana Example")
    ben = corpus.add_user("ben@example.com", "Ben Example")
    handbook = corpus.add_file(
        _pdf("Travel policy"), filename="travel policy.pdf", mime_type="application/pdf"
    )
    project = corpus.add_project(
        "Audit 2026", user=ana, files=[handbook], documents={"instructions.txt": "Be brief.\n"}
    )
    _add_reports(corpus, ana, project)
    _add_odd_names(corpus, ben)
    _add_odd_records(corpus, ben)
    _add_assistant_work(corpus, ana)
    return corpus


def _add_reports(corpus: Corpus, user: str, project: str) -> None:
    """Add the ordinary case: well-named files of common kinds."""
    chat = corpus.add_chat("Quarterly report", user=user, project=project)
    ledger = corpus.add_file(_csv(), filename="ledger 2026-Q1.csv", mime_type="text/csv")
    report = corpus.add_file(
        _pdf("Quarterly report"), filename="quarterly report.pdf", mime_type="application/pdf"
    )
    corpus.add_message(chat, "Please check the ledger against the report.", files=[ledger, report])
    corpus.add_message(chat, "Row 17 does not add up.", role="assistant")
    minutes = corpus.add_file(_MINUTES.encode(), filename="minutes.md", mime_type="text/markdown")
    chart = corpus.add_file(_png(64, 48), filename="chart.png", mime_type="image/png")
    corpus.add_message(chat, "And these.", files=[minutes, chart, ledger])


def _add_odd_names(corpus: Corpus, user: str) -> None:
    """Add names that can't be shown as they are, or look like something else."""
    chat = corpus.add_chat("Names", user=user)
    names = (
        "../../etc/passwd",
        ".hidden notes.txt",
        "meta.json",
        "Übersicht 概要.txt",
        "inv\u202efdp.exe",
    )
    files = [
        corpus.add_file(f"{_NOTES}({number})\n".encode(), filename=name, mime_type="text/plain")
        for number, name in enumerate(names)
    ]
    corpus.add_message(chat, "Some have odd names.", files=files)


def _add_odd_records(corpus: Corpus, user: str) -> None:
    """Add records with gaps, as older uploads have them."""
    chat = corpus.add_chat("Older uploads", user=user)
    notes = _NOTES.encode()
    files = [
        corpus.add_file(notes, filename=None, mime_type="text/plain"),
        corpus.add_file(
            _png(16, 16), filename="scan.png", mime_type="image/png", size_bytes=None, is_older=True
        ),
        corpus.add_file(
            _MINUTES.encode() * 40, filename="log.txt", mime_type="text/plain", md5=None
        ),
        corpus.add_file(b"", filename="empty.txt", mime_type="text/plain"),
        corpus.add_file(None, filename="interpreter output.bin"),
        corpus.add_file(
            PatternContent(3 << 20, is_text=True),
            filename="export.log",
            mime_type="text/plain",
            retention="default",
        ),
    ]
    corpus.add_message(chat, "From the old workspace.", files=files)


def _add_assistant_work(corpus: Corpus, user: str) -> None:
    """Add what the assistant made."""
    chat = corpus.add_chat("Summary", user=user)
    table = corpus.add_generated_file(_csv(), filename="summary.csv", mime_type="text/csv")
    draft = corpus.add_artifact(_MINUTES, title="Minutes, tidied")
    corpus.add_message(chat, "Summarize, please.")
    corpus.add_message(chat, "Here.", role="assistant", generated=[table], artifacts=[draft])


def _csv() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("invoice", "date", "amount", "status"))
    for number in range(4400, 4460):
        status = "paid twice" if number == 4417 else "paid"
        writer.writerow((number, f"2026-01-{number % 28 + 1:02}", f"{number * 7 % 900}.00", status))
    return text.getvalue().encode()


def _png(width: int, height: int) -> bytes:
    """Return a picture: a red to blue gradient."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (255 * x // width, 64, 255 * y // height))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _pdf(title: str) -> bytes:
    """Return a document of one page that says its title."""
    stream = f"BT /F1 24 Tf 72 720 Td ({title}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, table, len(objects) + 1, len(body))
    )
