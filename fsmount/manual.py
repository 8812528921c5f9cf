"""The manual pages, from what --help shows: `python -m fsmount.manual DIRECTORY` writes them.

The command line library hands what it is about to show to a formatter; here that is one that keeps it. Only
what --help has no place for is written down in this module.
"""
# ruff: noqa: ARG002 - a formatter is told what to print on, and this one prints nothing

import dataclasses
import datetime as dt
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts.help import HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions

import fsmount
from fsmount.cli import app
from fsmount.fstab import known_options
from fsmount.roff import Page, bold, italic, plain

_SOURCE = f"fsmount {fsmount.__version__}"

_ENVIRONMENT = (
    (
        "FSMOUNT_<NAME>",
        "An option of a command that takes --config: FSMOUNT_MAX_RPM is --max-rpm. The command line wins over"
        " it, and it over the configuration file. Set to nothing it counts as not set.",
    ),
    (
        "ANTHROPIC_COMPLIANCE_ACCESS_KEY",
        "The API key, where neither --key-file nor a credential of the service manager gives one.",
    ),
    ("ANTHROPIC_BASE_URL", "Where the API is, where FSMOUNT_BASE_URL is not set."),
    (
        "CREDENTIALS_DIRECTORY",
        "Set by systemd; the key is looked for in its file compliance-access-key.",
    ),
    ("XDG_DATA_HOME", "The data home, ~/.local/share by default."),
)
_FILES = (
    (
        "~/.local/share/fsmount/cases/NAME",
        "The case NAME. It holds files' content in the clear: keep it on an encrypted disk.",
    ),
    ("CASE/catalog.sqlite3", "The files that the case knows, and their records."),
    ("CASE/content", "The acquired content."),
    ("CASE/custody.jsonl", "The custody log."),
    (
        "CASE/mount.log",
        "Messages of a mount that was started on a terminal and went to the background.",
    ),
    ("MOUNTPOINT/.fsmount/status.json", "What the mount is doing."),
)
_EXIT = (
    ("0", "Done."),
    ("1", "The operation or a check failed; one line on standard error says why."),
    ("2", "Wrong usage."),
    (
        "130",
        "Interrupted by Ctrl-C; a mount ends with 0, collecting with 1, since something is left.",
    ),
)
_EXAMPLES = (
    (
        "Collect the files of two people and look at them:",
        "fsmount collect acme --user a@example.com --user b@example.com --key-file key",
        "fsmount mount acme mnt --key-file key",
        "grep -rl 'paid twice' mnt",
        "fsmount unmount mnt",
    ),
    (
        "Export what was acquired, without a request, and check where it came from:",
        "fsmount export acme evidence/acme --format bagit --offline",
        "fsmount verify acme",
        "fsmount log acme --check",
    ),
    (
        "One file with options for all commands:",
        "cat >acme.toml <<'END'",
        'key_file = "/etc/fsmount/acme.key"',
        "max_rpm = 300",
        'user = ["a@example.com", "b@example.com"]',
        "END",
        "fsmount collect acme --config acme.toml",
        "fsmount mount acme mnt --config acme.toml",
    ),
)

_HELPER_SWITCHES = (
    ("-o", "OPTION[=VALUE],...", "The options below, and those that fstab(5) has for every mount."),
    ("-f", "", "Check the order, and mount nothing."),
    ("-s", "", "Pass over options that are not known."),
    ("-v", "", "Write what is done, as verbose does."),
    ("-n", "", "Accepted; there is no mtab to be left alone."),
)
_HELPER_EXIT = (
    ("0", "Mounted."),
    ("1", "Wrong usage."),
    ("8", "Interrupted."),
    ("32", "The mount failed."),
)


@dataclasses.dataclass
class Shown:
    """What --help of one command shows; the command line library's formatter."""

    usage: str = ""
    description: str = ""
    panels: list[HelpPanel] = dataclasses.field(default_factory=list)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: object) -> None:
        """Keep how it is called."""
        self.usage = _text(usage)

    def render_description(
        self, console: Console, options: ConsoleOptions, description: object
    ) -> None:
        """Keep what it does."""
        self.description = _text(description)

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Keep a group of options."""
        if panel.entries:
            self.panels.append(panel)

    @property
    def entries(self) -> Iterator[HelpEntry]:
        """All that is explained."""
        return (entry for panel in self.panels for entry in panel.entries)


def shown_by_help(*command: str) -> Shown:
    """Return what `fsmount COMMAND --help` shows."""
    shown, before = Shown(), app.help_formatter
    app.help_formatter = shown
    try:
        app.help_print(command, console=Console(file=io.StringIO()))
    finally:
        app.help_formatter = before
    return shown


def commands() -> list[str]:
    """Return the names of the commands, in the order in which they were made known."""
    return [name for name in app if not name.startswith("-")]


def program_page(date: str) -> str:
    """Return fsmount(1)."""
    root = shown_by_help()
    page = Page("fsmount", 1, date=date, source=_SOURCE, volume="User Commands")
    page.name("fsmount", _as_whatis(root.description))
    page.section("Synopsis")
    helps = {name: shown_by_help(name) for name in commands()}
    page.synopsis([_usage(shown.usage) for shown in helps.values()])
    page.section("Description")
    page.paragraphs(root.description)
    page.section("Options")
    for entry in root.entries:
        if entry.names[0].startswith("-"):
            page.item(_term(entry), _explained(entry))
    page.section("Commands")
    for name, shown in helps.items():
        page.subsection(f"fsmount {name}")
        page.synopsis([_usage(shown.usage)])
        page.paragraphs(shown.description)
        for panel in shown.panels:
            page.title(_text(panel.title))
            for entry in panel.entries:
                page.item(_term(entry), _explained(entry))
    _list(page, "Environment", _ENVIRONMENT)
    _list(page, "Files", _FILES)
    _list(page, "Exit status", _EXIT)
    page.section("Examples")
    for title, *lines in _EXAMPLES:
        page.paragraphs(title)
        page.example(lines)
    page.references([("mount.fsmount", 8), ("fusermount3", 1)])
    return page.text()


def helper_page(date: str) -> str:
    """Return mount.fsmount(8)."""
    page = Page("mount.fsmount", 8, date=date, source=_SOURCE, volume="System Administration")
    page.name("mount.fsmount", "mount a case of fsmount, for mount(8) and fstab(5)")
    page.section("Synopsis")
    case, place = italic("CASE"), italic("MOUNTPOINT")
    switches = rf"[{bold('-sfnv')}] [{bold('-o')} {italic('OPTION[=VALUE],...')}]"
    page.synopsis(
        [
            f"{bold('mount.fsmount')} {case} {place} {switches}",
            f"{bold('mount -t fsmount')} {case} {place} [{bold('-o')} {italic('OPTIONS')}]",
        ]
    )
    page.section("Description")
    page.paragraphs(
        "Runs fsmount mount for mount(8), and so for /etc/fstab and for systemd's mount and automount units."
        " An option that is not known is an error, because a misspelt limit that is passed over would be"
        " believed to hold."
    )
    page.section("Options")
    for switch, value, text in _HELPER_SWITCHES:
        page.item(f"{bold(switch)} {italic(value)}" if value else bold(switch), text)
    page.section("Mount options")
    page.paragraphs(
        "Those of fsmount mount, with underscores. A value with a comma in it is put in double quotes, or the"
        " comma is written \\054. What every mount of fsmount is anyway or never, such as ro or noatime, is"
        " accepted."
    )
    known = known_options()
    for entry in shown_by_help("mount").entries:
        name = next((name[2:].replace("-", "_") for name in entry.names), "")
        if name in known:
            value = f"={italic(entry.metavar)}" if entry.metavar else ""
            page.item(f"{bold(name)}{value}", _explained(entry))
    _list(page, "Exit status", _HELPER_EXIT)
    page.section("Examples")
    page.paragraphs("A line of /etc/fstab:")
    page.example(
        [
            "case42 /mnt/case42 fsmount noauto,x-systemd.automount,_netdev,max_rpm=300 0 0",
        ]
    )
    page.references([("fsmount", 1), ("mount", 8), ("fstab", 5)])
    return page.text()


PAGES = {"fsmount.1": program_page, "mount.fsmount.8": helper_page}


def write_pages(directory: Path, today: str) -> None:
    """Write all pages; one whose text has not changed keeps its date."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        path = directory / name
        if not path.exists() or path.read_text() != page(date_of(path)):
            path.write_text(page(today))


def date_of(path: Path) -> str:
    """Return the date that stands in a page."""
    return path.read_text().split(maxsplit=4)[3]


def _list(page: Page, title: str, items: tuple[tuple[str, str], ...]) -> None:
    page.section(title)
    for term, text in items:
        page.item(bold(term), text)


def _usage(text: str) -> str:
    return f"{bold('fsmount')} {plain(text.removeprefix('fsmount '))}"


def _term(entry: HelpEntry) -> str:
    words = (label.partition(" ") for label in entry.display_labels_with_metavar)
    show = italic if entry.positional_label else bold
    return ", ".join(
        f"{show(name)} {italic(value)}" if value else show(name) for name, _, value in words
    )


def _explained(entry: HelpEntry) -> str:
    """Return what --help says of an option, with what it puts in brackets as a sentence."""
    said = [_text(entry.description)]
    if entry.choices:
        said.append(f"One of: {', '.join(entry.choices)}.")
    if entry.default is not None:
        said.append(f"Default: {entry.default}.")
    if entry.required and not entry.positional_label:
        said.append("Has to be given.")
    return " ".join(said)


def _as_whatis(text: str) -> str:
    """Return a sentence as what the name of a page is followed by."""
    return (text[0].lower() + text[1:]).removesuffix(".")


def _text(shown: object) -> str:
    """Return the text of what the command line library would print."""
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    with console.capture() as captured:
        console.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines())


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]), dt.datetime.now(dt.UTC).date().isoformat())
