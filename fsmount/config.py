"""Settings: what the command line, the environment and files say, checked once and frozen.

Parsing is plain code; where a value comes from, and which source wins, is the command line's business.
"""

import contextlib
import dataclasses
import difflib
import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

from fsmount.errors import UsageError
from fsmount.names import is_file_id

DEFAULT_BASE_URL = "https://api.anthropic.com"
KEY_VARIABLE = "ANTHROPIC_COMPLIANCE_ACCESS_KEY"
BASE_URL_VARIABLE = "ANTHROPIC_BASE_URL"
CREDENTIAL_NAME = "compliance-access-key"

# Thumbnailers and indexers, as the kernel cuts their names; `thumbnail.so` stands for the KDE workers that
# make thumbnails and do other things under the same name.
DEFAULT_DENY_PROGRAMS = frozenset(
    {
        "tumblerd",
        "pool-tumblerd",
        "gdk-pixbuf-thum*",
        "*thumbnailer",
        "baloo_file*",
        "tracker-*",
        "localsearch*",
        "recollindex",
        "updatedb*",
        "thumbnail.so",
    }
)

# Binary units only: "MB" means a million bytes to some and 1 MiB to others, so it is refused. The number of
# digits is bounded since Python refuses to convert very long ones, and SQLite and off_t end at 2**63.
_SIZE = re.compile(r"([0-9]{1,18}) ?(?:([kmgt])(?:ib)?)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_MAX_SIZE_BYTES = (1 << 63) - 1

_MAX_TIMEOUT_S = 86_400.0
_MAX_OWNER_ID = (1 << 32) - 2  # the last one stands for "unchanged" in chown(2)
_SHOWN_PROBLEMS = 10  # of a file of ids; the rest is counted
_MAX_KEY_FILE_BYTES = 64 * 1024  # a wrong path, such as a device, must not be read for ever


class SecretKey:
    """An API key that does not show itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "SecretKey(…)"

    __str__ = __repr__


@dataclasses.dataclass(frozen=True, slots=True)
class MountSettings:
    """Everything that a mount is told.

    Shape: `key` None only with `offline`; `verified_open_bytes` None: every file is served only once whole
    and verified, 0: none (but empty ones). Units: bytes, seconds, requests a minute.
    """

    case: str
    mountpoint: Path
    base_url: str = DEFAULT_BASE_URL
    key: SecretKey | None = None
    ids_file: Path | None = None
    allow_delete: bool = False
    allow_move: bool = False
    verified_open_bytes: int | None = 16 << 20
    deny_programs: frozenset[str] = DEFAULT_DENY_PROGRAMS
    offline: bool = False
    views: bool = True
    max_rpm: int = 540
    timeout_s: float = 90.0
    cache_bytes: int = 10 << 30
    allow_other: bool = False
    uid: int = 0
    gid: int = 0
    umask: int = 0o077
    foreground: bool = False

    def __post_init__(self) -> None:
        if self.allow_move and not self.allow_delete:
            raise UsageError(
                "--allow-move only says how deleting works; add --allow-delete or leave it out"
            )
        if self.offline and self.allow_delete:
            raise UsageError("--offline makes no requests, so --allow-delete can't delete anything")
        self._check_numbers()
        if self.key is None and not self.offline:
            raise UsageError(
                f"no API key: name a file with --key-file, or set {KEY_VARIABLE};"
                " --offline needs none"
            )

    def _check_numbers(self) -> None:
        if not 1 <= self.timeout_s <= _MAX_TIMEOUT_S:  # also refuses nan
            raise UsageError(f"--timeout must be 1 to {_MAX_TIMEOUT_S:.0f} seconds")
        if self.max_rpm < 1:
            raise UsageError("--max-rpm must be at least 1")
        if not 0 <= self.umask <= 0o777:
            raise UsageError("--umask must be an octal number up to 0777")
        for option, owner_id in (("--uid", self.uid), ("--gid", self.gid)):
            if not 0 <= owner_id <= _MAX_OWNER_ID:
                raise UsageError(f"{option} must be a number from 0 to {_MAX_OWNER_ID}")


def parse_size(text: str, option: str) -> int:
    """Return a size in bytes: a whole number, alone or with KiB, MiB, GiB, TiB, or K, M, G, T for the same.

    Errors: UsageError.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option}: {text!r} is not a size; write 4096, 16MiB or 10GiB")
    size_bytes = int(match[1]) << _UNITS[(match[2] or "").lower()]
    if size_bytes > _MAX_SIZE_BYTES:
        raise UsageError(f"{option}: {text} is more than any disk holds")
    return size_bytes


def parse_verified_open(text: str) -> int | None:
    """Return the bound of --verified-open: None for `all`, 0 for `none`, else bytes."""
    word = text.strip().lower()
    if word == "all":
        return None
    return 0 if word == "none" else parse_size(text, "--verified-open")


def parse_deny_programs(text: str) -> frozenset[str]:
    """Return the programs of --deny-programs: `none`, or names between commas.

    The name `default` stands for all default ones, so that a list can add to them.
    Errors: UsageError.
    """
    words = {word.strip() for word in text.split(",")} - {""}
    if not words:
        raise UsageError("--deny-programs: name at least one program, or write none")
    if words == {"none"}:
        return frozenset()
    paths = sorted(word for word in words if "/" in word)
    if paths:
        raise UsageError(f"--deny-programs: {paths[0]!r} is a path; write the program's name alone")
    named = frozenset(words - {"default"})
    return named | DEFAULT_DENY_PROGRAMS if "default" in words else named


def parse_umask(text: str) -> int:
    """Return --umask, an octal number."""
    try:
        return int(text, 8)
    except ValueError:
        raise UsageError(f"--umask: {text!r} is not an octal number such as 0077") from None


def check_base_url(url: str, *, insecure_http: bool) -> str:
    """Return the base URL, checked: without encryption the key may only go to this machine.

    Errors: UsageError.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port  # the port is looked at when it is asked for
    except ValueError:
        host, port = None, None
    if not host or port == 0 or not url.isprintable() or " " in url:
        raise UsageError(f"--base-url: {url!r} is not an http(s) URL")
    if parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise UsageError(f"--base-url: {url!r} is not an http(s) URL without query")
    if parts.username is not None or parts.password is not None:
        raise UsageError("--base-url: a name or password does not belong into the URL")
    if parts.scheme == "http" and not insecure_http and not _is_loopback(host):
        raise UsageError(
            f"--base-url: {url} would send the key unencrypted; use https, or --insecure-http if you must"
        )
    return url.rstrip("/")


def find_key(
    key_file: Path | None, environ: MutableMapping[str, str], *, offline: bool = False
) -> tuple[SecretKey | None, list[str]]:
    """Return the key and what is to be warned of; None where there is none, or none is needed.

    A file that was named comes first, then the service manager's credential, then the environment, from
    which the key is removed so that no child inherits it.
    Errors: UsageError for a file or credential that can't be read, or that holds no key.
    """
    inherited = environ.pop(KEY_VARIABLE, None)
    if offline:
        return None, []
    if key_file is not None:
        return _key_of_file(key_file)
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory:
        credential = Path(directory) / CREDENTIAL_NAME
        if credential.exists():
            return _key_of_credential(credential), []
    if inherited is None:
        return None, []
    return _checked_key(inherited, f"${KEY_VARIABLE}"), []


def read_options(
    path: Path, known: Collection[str], wanted: Mapping[str, bool]
) -> dict[str, object]:
    """Return options from a configuration file (TOML): an option's name, with underscores, to its value.

    `known` are all that the file may hold, `wanted` those to return, and which of them take several values.
    Errors: UsageError for a file that can't be read, for a key that is no option, and for an unfit value.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config: {path} can't be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"--config: {path} is not TOML: {error}") from error
    for name in document:
        _check_name(path, name, known)
    return {
        name: _checked_option(path, name, value, takes_several=wanted[name])
        for name, value in document.items()
        if name in wanted
    }


def read_ids(path: Path) -> tuple[list[str], list[str]]:
    """Return the ids of a file (`-`: standard input) and its first problems, with line numbers.

    Errors: UsageError when it can't be read, or when it holds something and no id.
    """
    try:
        # A byte order mark, which spreadsheets put first, is no part of an id.
        source = os.dup(0) if str(path) == "-" else path
        with open(source, encoding="utf-8-sig", errors="replace") as lines:
            ids, problems = parse_ids(lines)
    except OSError as error:
        raise UsageError(f"--ids-file: {path} can't be read: {error.strerror}") from error
    if problems and not ids:
        raise UsageError(f"--ids-file: {path}: no line is a file id; {problems[0]}")
    if len(problems) > _SHOWN_PROBLEMS:
        more = len(problems) - _SHOWN_PROBLEMS
        problems[_SHOWN_PROBLEMS:] = [f"{more:,} more lines are no file ids, passed over"]
    return ids, problems


def parse_ids(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the ids among lines, and one message for each line that is none; comments are passed over."""
    ids: dict[str, None] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if is_file_id(word.encode("utf-8", "replace")):
            ids[word] = None
        else:
            problems.append(f"line {number}: {word[:80]!r} is not a file id, passed over")
    return list(ids), problems


def _check_name(path: Path, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0)
        hint = f"; the nearest option is {near[0]}" if near else ""
        raise UsageError(f"--config: {path}: there is no option {name!r}{hint}")


def _checked_option(path: Path, name: str, value: object, *, takes_several: bool) -> object:
    """Return the value of one key of the configuration file in the form that the option is parsed from."""
    if name == "umask" and not isinstance(value, str):
        # TOML's 0o077 is the number 63, whose digits would be taken for octal ones.
        raise UsageError(f'--config: {path}: umask must be text, such as "0077"')
    if name == "deny_programs" and isinstance(value, list):
        return ",".join(map(str, value))
    if takes_several and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if not isinstance(value, str | int | float):  # bool is an int
        raise UsageError(f"--config: {path}: {name} must be one value, not {type(value).__name__}")
    return value


def _key_of_file(path: Path) -> tuple[SecretKey, list[str]]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_KEY_FILE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"the key file {path} can't be read: {reason}") from error
    warnings = []
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.append(f"the key file {path} can be read by others; run: chmod 600 {path}")
    return _checked_key(text, str(path)), warnings


def _key_of_credential(path: Path) -> SecretKey:
    """Return the key; without a warning, as access lists guard it, which look like group permissions."""
    with contextlib.suppress(OSError):  # which is told below, as for any other file
        if not path.read_bytes().strip():  # what a service's default for a missing one is
            raise UsageError(f"no API key: the credential {CREDENTIAL_NAME} is missing or empty")
    return _key_of_file(path)[0]


def _checked_key(text: str, source: str) -> SecretKey:
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or any(map(str.isspace, key)):
        raise UsageError(f"{source} holds no usable key: it must be one word of plain characters")
    return SecretKey(key)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
