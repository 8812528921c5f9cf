"""Settings: what the command line, the environment and files say, checked once and frozen.

Parsing is plain code; where a value comes from, and which source wins, is the command line's business.
"""

import dataclasses
import ipaddress
import os
import stat
from collections.abc import Iterable, Mapping, MutableMapping
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
        "*-thumbnailer",
        "baloo_file*",
        "tracker-*",
        "localsearch*",
        "updatedb*",
        "thumbnail.so",
    }
)

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


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
        if self.key is None and not self.offline:
            raise UsageError(
                f"no API key: name a file with --key-file, or set {KEY_VARIABLE};"
                " --offline needs none"
            )
        if self.offline and self.allow_delete:
            raise UsageError("--offline makes no requests, so --allow-delete can't delete anything")
        if self.timeout_s < 1:
            raise UsageError("--timeout must be at least 1 second")
        if self.max_rpm < 1:
            raise UsageError("--max-rpm must be at least 1")
        if not 0 <= self.umask <= 0o777:
            raise UsageError("--umask must be an octal number up to 0777")


def parse_size(text: str, option: str) -> int:
    """Return a size like `16MiB`, `10G` or `4096` in bytes.

    Errors: UsageError.
    """
    word = text.strip().lower()
    digits = word.rstrip("kmgtib")
    unit = word[len(digits) :].removesuffix("ib").removesuffix("b")
    if not digits.isascii() or not digits.isdigit() or unit not in _UNITS:
        raise UsageError(f"{option}: {text!r} is not a size; write 4096, 16MiB or 10GiB")
    return int(digits) * _UNITS[unit]


def parse_verified_open(text: str) -> int | None:
    """Return the bound of --verified-open: None for `all`, 0 for `none`, else bytes."""
    word = text.strip().lower()
    if word == "all":
        return None
    return 0 if word == "none" else parse_size(text, "--verified-open")


def parse_deny_programs(text: str) -> frozenset[str]:
    """Return the programs of --deny-programs: `default`, `none`, or names between commas."""
    word = text.strip()
    if word.lower() == "default":
        return DEFAULT_DENY_PROGRAMS
    if word.lower() == "none":
        return frozenset()
    return frozenset(name.strip() for name in word.split(",") if name.strip())


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
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--base-url: {url!r} is not an http(s) URL")
    if parts.username or parts.password:
        raise UsageError("--base-url: the key does not belong into the URL")
    if parts.scheme == "http" and not insecure_http and not _is_loopback(parts.hostname):
        raise UsageError(
            f"--base-url: {url} would send the key unencrypted; use https, or --insecure-http if you must"
        )
    return url.rstrip("/")


def find_key(
    key_file: Path | None, environ: MutableMapping[str, str]
) -> tuple[SecretKey | None, list[str]]:
    """Return the key and what is to be warned of; None where there is none.

    A file that was named comes first, then the service manager's credential, then the environment, from
    which the key is removed so that no child inherits it.
    Errors: UsageError for a file that can't be read, or that holds no key.
    """
    inherited = environ.pop(KEY_VARIABLE, None)
    if key_file is not None:
        return _key_of_file(key_file)
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory:
        credential = Path(directory) / CREDENTIAL_NAME
        if credential.exists():
            return _key_of_file(credential)
    if inherited is None:
        return None, []
    return _checked_key(inherited, f"${KEY_VARIABLE}"), []


def read_ids(path: Path) -> tuple[list[str], list[str]]:
    """Return the ids of a file (`-`: standard input) and its problems, with line numbers.

    Errors: UsageError when it can't be read.
    """
    try:
        if str(path) == "-":
            with os.fdopen(os.dup(0), encoding="utf-8", errors="replace") as lines:
                return parse_ids(lines)
        with path.open(encoding="utf-8", errors="replace") as lines:
            return parse_ids(lines)
    except OSError as error:
        raise UsageError(f"--ids-file: {path} can't be read: {error.strerror}") from error


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


def base_url_of(option: str | None, environ: Mapping[str, str]) -> str:
    """Return the base URL: the option, else the environment's, else the service's own."""
    return option or environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL


def _key_of_file(path: Path) -> tuple[SecretKey, list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"the key file {path} can't be read: {reason}") from error
    warnings = []
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.append(f"the key file {path} can be read by others; run: chmod 600 {path}")
    return _checked_key(text, str(path)), warnings


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
