"""The emulator in a process of its own, so that benchmarks do not share an interpreter with it."""

import dataclasses
import json
import selectors
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from fsmount.demo.app import Emulator
from fsmount.demo.behaviour import DELETE_KEY, READ_KEY, Behaviour
from fsmount.demo.generated import GeneratedCorpus
from fsmount.demo.server import serve

_REPOSITORY = Path(__file__).parents[2]

# Hashing large files comes before listening: about 1.6 s for a GiB.
_ANSWER_LIMIT_S = 120.0
_STOP_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Load:
    """What the process serves and how: see `GeneratedCorpus` and `Behaviour`."""

    chats: int = 100
    files_per_chat: int = 10
    file_bytes: int = 20_000
    large_sizes: tuple[int, ...] = ()
    requests_per_minute: int = 1_000_000_000
    honour_range: bool = False
    latency_s: float = 0.0
    bytes_per_s: float | None = None

    def corpus(self) -> GeneratedCorpus:
        """Return the corpus, which is the same in every process."""
        return GeneratedCorpus(
            chats=self.chats,
            files_per_chat=self.files_per_chat,
            file_bytes=self.file_bytes,
            large_sizes=tuple(self.large_sizes),
        )

    def behaviour(self) -> Behaviour:
        """Return the behaviour."""
        return Behaviour(
            requests_per_minute=self.requests_per_minute,
            honour_range=self.honour_range,
            latency_s=self.latency_s,
            bytes_per_s=self.bytes_per_s,
        )


class EmulatorProcess:
    """The emulator at `url`, in a process `pid`, while the context is open.

    `corpus` works out on this side which ids, sizes and hashes are served on the other.
    """

    read_key = READ_KEY
    delete_key = DELETE_KEY

    def __init__(self, load: Load) -> None:
        self.corpus = load.corpus()
        self.url = ""
        self.pid = 0
        self._load = load
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        load = json.dumps(dataclasses.asdict(self._load))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.process", load],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.url = line_of(self._process).strip()
        if not self.url:
            self._stop()
            raise RuntimeError("the emulator's process did not start; its error is on stderr")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        assert self._process is not None
        end_by_input(self._process)


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process writes; "" when it ended or wrote none in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(_ANSWER_LIMIT_S) else ""


def end_by_input(process: subprocess.Popen[str]) -> None:
    """End a process that ends by itself when its standard input does."""
    with process:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()


async def _serve_until_input_ends(load: Load) -> None:
    corpus = load.corpus()
    corpus.hash_large_files()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve, Emulator(corpus, behaviour=load.behaviour()))
        print(url, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_serve_until_input_ends, Load(**json.loads(sys.argv[1])))
