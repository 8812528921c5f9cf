"""Completion: real shells on a terminal, with the scripts that `fsmount completion` prints."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fsmount.case import Case

_PROMPT = b"ready>"
_LIMIT_S = 60.0
_BEGIN, _END, _ENTER, _TAB = b"\x01", b"\x05", b"\r", b"\t"  # in the shells' Emacs mode

Complete = Callable[[str], str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a home with a case, and a directory to be in with a few names to complete."""
    home = tmp_path / "home"
    Case.open(home / ".local/share/fsmount/cases/acme-2026")
    (home / ".local/share/fsmount/cases/no case").mkdir()
    here = tmp_path / "here"
    (here / "evidence room" / "case7").mkdir(parents=True)
    (here / "mountpoint").mkdir()
    (here / "acme-2026").touch()  # named as the case is
    (here / "fsmount.toml").touch()
    return home


@pytest.fixture(params=["bash", "zsh", "zsh-fpath", "fish"])
def complete(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Complete:
    """Return a function that types the beginning of a line and Tab, and returns the line that comes of it."""
    start = {"bash": bash, "zsh": zsh, "zsh-fpath": zsh_fpath, "fish": fish}[request.param]
    environment = {
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "TERM": "dumb",
    }
    command = start(home)
    out = tmp_path / "line"

    def complete(line: str) -> str:
        out.unlink(missing_ok=True)
        keys = [line.encode(), _TAB, _BEGIN, b"printf '%s\\n' ", _END, b" >" + bytes(out), _ENTER]
        keys += [b"exit", _ENTER]
        said = type_into(command, b"".join(keys), environment, tmp_path / "here")
        assert out.exists(), said
        # zsh takes the slash behind a directory away again when the word ends there.
        return " ".join(f"<{word.removesuffix('/')}>" for word in out.read_text().splitlines())

    return complete


def script_of(shell: str) -> str:
    command = [sys.executable, "-m", "fsmount", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def bash(home: Path) -> list[str]:
    (home / "rc").write_text(f"PS1='{_PROMPT.decode()} '\nbind 'set enable-bracketed-paste off'\n")
    (home / "completions").write_text(script_of("bash"))
    with (home / "rc").open("a") as settings:
        settings.write(f"source '{home}/completions'\n")
    return ["bash", "--noprofile", "--rcfile", str(home / "rc"), "-i"]


_ZSH = (
    f"PS1='{_PROMPT.decode()} '; bindkey -e; autoload -U compinit; unsetopt zle_bracketed_paste\n"
)


def zsh(home: Path) -> list[str]:
    """Load the script as `source <(fsmount completion zsh)` does."""
    (home / "completions").write_text(script_of("zsh"))
    (home / ".zshrc").write_text(f"{_ZSH} compinit -u\nsource '{home}/completions'\n")
    return ["zsh", "-i"]


def zsh_fpath(home: Path) -> list[str]:
    """Load the script when it is first asked."""
    (home / "functions").mkdir()
    (home / "functions/_fsmount").write_text(script_of("zsh"))
    (home / ".zshrc").write_text(f"{_ZSH} fpath=('{home}/functions' $fpath)\ncompinit -u\n")
    return ["zsh", "-i"]


def fish(home: Path) -> list[str]:
    settings = home / ".config/fish"
    (settings / "completions").mkdir(parents=True)
    (settings / "completions/fsmount.fish").write_text(script_of("fish"))
    (settings / "config.fish").write_text(
        f"function fish_prompt; echo '{_PROMPT.decode()} '; end\nset fish_greeting\n"
        "set -g fish_autosuggestion_enabled 0\n"
    )
    return ["fish", "-i"]


def type_into(command: list[str], keys: bytes, environment: dict[str, str], directory: Path) -> str:
    """Run a shell on a terminal, type once it is ready, and return all that it showed until it ended."""
    terminal, shells_side = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=shells_side,
        stdout=shells_side,
        stderr=shells_side,
        cwd=directory,
        env=environment,
    ) as shell:
        os.close(shells_side)
        said = b""
        deadline = time.monotonic() + _LIMIT_S
        try:
            while (left := deadline - time.monotonic()) > 0:
                if not select.select([terminal], [], [], left)[0]:
                    break
                said += os.read(terminal, 65536)
                if keys and _PROMPT in said:
                    os.write(terminal, keys)
                    keys = b""
        except OSError:  # how a terminal says that the shell has ended
            pass
        finally:
            os.close(terminal)
            shell.kill()
    return said.decode(errors="replace")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("fsmount unm", "<fsmount> <unmount>"),
        ("fsmount mount --allow-d", "<fsmount> <mount> <--allow-delete>"),
        ("fsmount export --format dfx", "<fsmount> <export> <--format> <dfxml>"),
        ("fsmount mount ac", "<fsmount> <mount> <acme-2026>"),
        ("fsmount verify ", "<fsmount> <verify> <acme-2026>"),
        ("fsmount mount acme-2026 mountp", "<fsmount> <mount> <acme-2026> <mountpoint>"),
        ("fsmount mount ./evid", "<fsmount> <mount> <./evidence room>"),
        ("fsmount mount ./evidence\\ room/ca", "<fsmount> <mount> <./evidence room/case7>"),
        ("fsmount mount c m --config fsm", "<fsmount> <mount> <c> <m> <--config> <fsmount.toml>"),
    ],
)
def test_shells_complete(complete: Complete, line: str, completed: str):
    """Commands, options, their values, names of cases, and paths, with what has to be quoted quoted."""
    assert completed == complete(line)
