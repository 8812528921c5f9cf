"""`fsmount demo`: starts the emulator, mounts its files and shows around with ordinary tools.

The emulator and the tour share one event loop; the mount and the tools are processes, as they are for a
user. Starlette and Hypercorn are imported inside functions only, so that their absence is one clear line.
"""

import contextlib
import importlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from rich.console import Console
from rich.text import Text

from .behaviour import DELETE_KEY, READ_KEY
from .corpus import Corpus
from .mounting import DemoError, mount_command, mounted
from .requestlog import RequestLog
from .samples import demo_corpus

# A tool that takes longer than this over a handful of small files is stuck.
_STEP_LIMIT_S = 60.0

# Longer outputs are cut: the tour is to be read, not scrolled.
_SHOWN_LINES = 60

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_demo(mountpoint: Path | None, *, once: bool, serve_only: bool, port: int) -> int:
    """Run the demonstration and return its exit code.

    `mountpoint` None: a temporary directory. `once`: end after the tour instead of waiting for Ctrl-C.
    `serve_only`: no mount, just the emulator. `port` 0: any free one.
    """
    try:
        for needed in ("hypercorn", "starlette"):
            importlib.import_module(needed)
    except ImportError as error:
        _complain(f"{error.name} is missing; pip install 'fsmount[demo]' brings it")
        return 1
    code = 1
    try:
        code = trio.run(_until_signal, mountpoint, once, serve_only, port)
    except* (DemoError, OSError) as group:
        _complain(str(_first(group)))
    except* KeyboardInterrupt:
        code = 0
    return code


async def _until_signal(mountpoint: Path | None, once: bool, serve_only: bool, port: int) -> int:
    """Run until the end or until Ctrl-C or SIGTERM, which are an end like any other (0)."""
    code = 0
    output = Console(highlight=False, soft_wrap=True)
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            if serve_only:
                await _serve(output, port)
            else:
                code = await _mount_and_show(output, mountpoint, once, port)
            nursery.cancel_scope.cancel()
    return code


async def _cancel_on_signal(signals: AsyncIterator[int], cancel_scope: trio.CancelScope) -> None:
    await anext(signals)
    cancel_scope.cancel()


async def _serve(output: Console, port: int) -> None:
    """Serve the emulator alone."""
    async with _emulating(demo_corpus(), port) as (url, _):
        for label, value in (("base URL", url), ("read key", READ_KEY), ("delete key", DELETE_KEY)):
            output.print(f"{label:<11}{value}", markup=False)
        await trio.sleep_forever()


async def _mount_and_show(output: Console, mountpoint: Path | None, once: bool, port: int) -> int:
    """Mount the emulator's files, show around, and wait unless `once`; return the exit code."""
    corpus = demo_corpus()
    with _workplace(corpus, mountpoint) as place:
        async with _emulating(corpus, port) as (url, log):
            command = mount_command(
                place.case, place.mountpoint, base_url=url, key_file=place.key, ids_file=place.ids
            )
            _show_title(output, "The emulator runs; its files are mounted")
            _show_command(output, ["fsmount", *command[3:]])
            async with mounted(command, place.mountpoint) as mount:
                is_right = await show_around(output, place.mountpoint, corpus, log)
                if once:
                    return 0 if is_right else 1
                output.print(f"\nStill mounted at {place.mountpoint}. Ctrl-C ends.", markup=False)
                await mount.wait_ended()
                return 0 if is_right else 1


@asynccontextmanager
async def _emulating(corpus: Corpus, port: int) -> AsyncIterator[tuple[str, RequestLog]]:
    """Serve a corpus inside the context: its base URL, and the log of what is asked."""
    from .app import Emulator  # noqa: PLC0415  needs Starlette, which is optional
    from .server import serve  # noqa: PLC0415  needs Hypercorn, which is optional

    emulator = Emulator(corpus)
    async with trio.open_nursery() as nursery:

        async def listen(task_status: trio.TaskStatus[str]) -> None:
            await serve(emulator, port=port, task_status=task_status)

        url: str = await nursery.start(listen)
        yield url, emulator.log
        nursery.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class _Workplace:
    """Where the demonstration keeps its things."""

    case: Path
    key: Path
    ids: Path
    mountpoint: Path


@contextmanager
def _workplace(corpus: Corpus, mountpoint: Path | None) -> Iterator[_Workplace]:
    """Make a temporary case and a mountpoint; what was made here is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="fsmount-demo-") as base:
        place = Path(base)
        key, ids = place / "read-key", place / "ids"
        key.touch(mode=0o600)
        key.write_text(f"{READ_KEY}\n")
        ids.write_text("".join(f"{file_id}\n" for file_id in _uploaded(corpus)))
        # Apart from the rest: removing a directory tree must never walk into a mount.
        target = mountpoint or Path(tempfile.mkdtemp(prefix="fsmount-demo-mount-"))
        is_ours = mountpoint is None or not target.exists()
        target.mkdir(parents=True, exist_ok=True)
        try:
            yield _Workplace(place / "case", key, ids, target.absolute())
        finally:
            if is_ours:
                with contextlib.suppress(OSError):
                    target.rmdir()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to see: what it is, and the command that shows it."""

    title: str
    command: list[str]


def steps(corpus: Corpus) -> list[Step]:
    """Return what the tour shows; the last step hashes everything."""
    contents = ["find", ".", "-type", "f", "-not", "-name", "meta.json"]
    listing = ["tree", "-N", "--noreport", "."] if shutil.which("tree") else contents
    ledger = next(
        file_id
        for file_id in _uploaded(corpus)
        if str(corpus.files[file_id].record["filename"]).startswith("ledger")
    )
    return [
        Step("Each file is a directory: its content, and its record", listing),
        Step("The record of one file, as the API gave it", ["cat", f"{ledger}/meta.json"]),
        Step("Searching everything", ["grep", "-rn", "paid twice", "."]),
        Step("Hashing everything", [*contents, "-exec", "md5sum", "{}", "+"]),
    ]


async def show_around(output: Console, root: Path, corpus: Corpus, log: RequestLog) -> bool:
    """Run all steps below `root`; return whether they worked and every hash was right."""
    _show_command(output, ["cd", str(root)])
    is_right, shown = True, ""
    for step in steps(corpus):
        _show_title(output, step.title)
        _show_command(output, step.command)
        finished, shown = await _run(step.command, root)
        _show_output(output, shown)
        is_right = is_right and finished
    expected = {
        file_id: content.md5.hex()
        for file_id in _uploaded(corpus)
        if (content := corpus.files[file_id].content) is not None
    }
    is_right = is_right and expected == _hashes(shown)
    _show_title(output, "What it took")
    verdict = "equal those" if is_right else "DIFFER from those"
    counts = log.counts()
    output.print(f"The hashes of {len(expected)} files {verdict} of the served bytes.")
    output.print(
        f"Requests: {counts.get('metadata', 0)} for records, {counts.get('content', 0)} for content."
    )
    return is_right


async def _run(command: list[str], root: Path) -> tuple[bool, str]:
    """Run a tool inside the mount; return whether it worked, and what it wrote."""
    with trio.move_on_after(_STEP_LIMIT_S):
        finished = await trio.run_process(
            command,
            cwd=root,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        return finished.returncode == 0, finished.stdout.decode(errors="replace")
    return False, f"(no end within {_STEP_LIMIT_S:.0f} s)\n"


def _hashes(output: str) -> dict[str, str]:
    """Return file id to hash, from the lines of md5sum."""
    lines = (line.split("  ./", 1) for line in output.splitlines())
    return {path.partition("/")[0]: digest for digest, path in (f for f in lines if len(f) == 2)}


def _uploaded(corpus: Corpus) -> list[str]:
    return [file_id for file_id in corpus.files if file_id.startswith("claude_file_")]


def _show_title(output: Console, title: str) -> None:
    output.print(Text(f"\n{title}", style="bold cyan"))


def _show_command(output: Console, command: list[str]) -> None:
    output.print(Text(f"$ {shlex.join(command)}", style="bold"))


def _show_output(output: Console, shown: str) -> None:
    lines = shown.splitlines()
    for line in lines[:_SHOWN_LINES]:
        output.print(Text(line))
    if len(lines) > _SHOWN_LINES:
        output.print(Text(f"... {len(lines) - _SHOWN_LINES} more lines", style="dim"))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error inside a group."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _complain(message: str) -> None:
    """Say on standard error, in one line, why the demonstration ends."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        Text(f"fsmount demo: {' '.join(message.split())}")
    )
