"""Both servers in one process of their own: the emulator, and the facade that shows the same files.

The process takes one command a line on its standard input and answers each with a line of JSON; it ends
when its input does.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import trio

from fsmount.demo.app import Emulator
from fsmount.demo.behaviour import READ_KEY
from fsmount.demo.server import serve
from tests.bench.facade import Facade, filename_of
from tests.support.process import Load, end_by_input, line_of

_REPOSITORY = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """What was asked of the servers since the last reset.

    Units: bytes of bodies; `seconds` from the first request to the end of the last answer.
    """

    requests: int
    contents: int
    bytes_sent: int
    refused: int
    seconds: float


class Servers:
    """The emulator at `api_url` and the facade at `files_url`, while the context is open.

    `corpus` works out on this side which ids, sizes and hashes are served on the other.
    """

    read_key = READ_KEY

    def __init__(self, load: Load) -> None:
        self.load = load
        self.corpus = load.corpus()
        self.api_url = self.files_url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.bench.servers"]
        self._process = subprocess.Popen(
            [*command, json.dumps(dataclasses.asdict(self.load))],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.api_url, self.files_url = json.loads(self._read_line())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def ids(self) -> list[str]:
        """Return the ids of all files."""
        return list(self.corpus.file_ids())

    def name_of(self, file_id: str) -> str:
        """Return the name of a file, which is the one it has in every mount."""
        stored = self.corpus.find_listed(file_id)
        assert stored is not None
        return filename_of(stored)

    def content_url(self, file_id: str) -> str:
        """Return where the API has the content of a file."""
        return f"{self.api_url}/v1/compliance/apps/chats/files/{file_id}/content"

    def reset(self) -> None:
        """Forget what was asked until now, and start a new window of the budget."""
        self._ask("reset")

    def traffic(self) -> Traffic:
        """Return what was asked since the last reset."""
        return Traffic(**json.loads(self._ask("traffic")))

    def _ask(self, command: str) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._read_line()

    def _read_line(self) -> str:
        assert self._process is not None
        line = line_of(self._process)
        if not line:
            raise RuntimeError("the servers do not answer; their error is on stderr")
        return line

    def _stop(self) -> None:
        assert self._process is not None
        end_by_input(self._process)


def _traffic(emulator: Emulator) -> Traffic:
    entries = emulator.log.entries()
    ends = [entry.ended_at for entry in entries if entry.ended_at is not None]
    return Traffic(
        requests=len(entries),
        contents=emulator.log.count("content"),
        bytes_sent=emulator.log.bytes_sent(),
        refused=sum(entry.status == 429 for entry in entries),
        seconds=max(ends) - entries[0].started_at if ends else 0.0,
    )


async def _obey(lines: IO[str], emulator: Emulator) -> None:
    while line := await trio.to_thread.run_sync(lines.readline):
        answer: object = None
        if line.strip() == "reset":
            emulator.log.reset()
            emulator.budget.reset()
        else:
            answer = dataclasses.asdict(_traffic(emulator))
        print(json.dumps(answer), flush=True)


async def _main(load: Load) -> None:
    corpus = load.corpus()
    corpus.hash_large_files()
    emulator = Emulator(corpus, behaviour=load.behaviour())
    async with trio.open_nursery() as nursery:
        api = await nursery.start(serve, emulator)
        files = await nursery.start(serve, Facade(emulator, corpus))
        print(json.dumps([api, files]), flush=True)
        await _obey(sys.stdin, emulator)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main, Load(**json.loads(sys.argv[1])))
