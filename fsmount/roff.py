"""Manual pages in roff, with the macros of man(7): sections, paragraphs, lists and examples.

What the pages say is not decided here.
"""

import re
import textwrap
from collections.abc import Sequence

_COLUMNS = 70  # of the source before escapes, so that a difference shows what has changed
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

# What roff takes for its own, or typesets as a character that can't be pasted into a shell.
_ESCAPES = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
)


def plain(text: str) -> str:
    """Return text in the form that shows as it is."""
    escaped = text.translate(_ESCAPES)
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)


def bold(text: str) -> str:
    """Return what is to be typed as it stands."""
    return rf"\fB{plain(text)}\fR"


def italic(text: str) -> str:
    """Return what stands for something else."""
    return rf"\fI{plain(text)}\fR"


class Page:
    """One page, written from top to bottom. Text is plain; terms are made with `bold` and `italic`."""

    def __init__(self, name: str, section: int, *, date: str, source: str, volume: str) -> None:
        self._lines = [
            f'.TH {plain(name.upper())} {section} {date} "{source}" "{volume}"',
            ".nh",  # a word broken in two can't be pasted into a shell
            ".ad l",
        ]

    def section(self, title: str) -> None:
        """Begin a section."""
        self._lines.append(f".SH {plain(title.upper())}")

    def subsection(self, title: str) -> None:
        """Begin a section within one."""
        self._lines.append(f'.SS "{plain(title)}"')

    def name(self, name: str, does: str) -> None:
        """Say what whatis(1) is to show."""
        self.section("Name")
        self._lines.append(rf"{plain(name)} \-")
        self._fill(does)

    def synopsis(self, lines: Sequence[str]) -> None:
        """Say how a program is called, in lines of terms."""
        for index, line in enumerate(lines):
            self._lines += [".br", line] if index else [line]

    def references(self, pages: Sequence[tuple[str, int]]) -> None:
        """Name other pages."""
        self.section("See also")
        last = len(pages) - 1
        for index, (name, section) in enumerate(pages):
            self._lines.append(f".BR {plain(name)} ({section}){',' if index < last else ''}")

    def paragraphs(self, text: str) -> None:
        """Add text; a blank line parts paragraphs."""
        for index, paragraph in enumerate(text.strip().split("\n\n")):
            # The first one directly behind a heading would be an empty request.
            if index or not self._lines[-1].startswith((".SH", ".SS")):
                self._lines.append(".PP")
            self._fill(paragraph)

    def title(self, text: str) -> None:
        """Add a line above a list."""
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")
        self._lines.append(bold(text))

    def item(self, term: str, text: str) -> None:
        """Add an entry of a list of terms."""
        self._lines += [".TP", term]
        self._fill(text)

    def example(self, lines: Sequence[str]) -> None:
        """Add lines that are shown as they are."""
        self._lines += [".PP", ".RS 4", ".EX", *map(_line, lines), ".EE", ".RE"]

    def text(self) -> str:
        """Return the page."""
        return "\n".join(self._lines) + "\n"

    def _fill(self, text: str) -> None:
        for sentence in _SENTENCE_END.split(" ".join(text.split())):
            wrapped = textwrap.wrap(
                sentence, _COLUMNS, break_long_words=False, break_on_hyphens=False
            )
            self._lines += map(_line, wrapped)


def _line(text: str) -> str:
    escaped = plain(text)
    return rf"\&{escaped}" if escaped.startswith(".") else escaped
