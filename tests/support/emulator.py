"""The emulator running on loopback in a thread of the test process.

The server has a clock and a scheduler of its own, so a test may use a real client, a subprocess or a
mount against it, while it reads the log and turns the knobs directly.
"""

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import trio
import trio.lowlevel

from fsmount.demo.app import Emulator
from fsmount.demo.behaviour import DELETE_KEY, READ_KEY, USER_DATA_KEY, Behaviour
from fsmount.demo.corpus import Corpus
from fsmount.demo.model import Source
from fsmount.demo.server import serve

from .faults import Faults
from .wire import Cuts, serve_proxy

_LIMIT_S = 5.0


class RunningEmulator:
    """The emulator at `url`, and behind a breakable wire at `wire_url`, while the context is open.

    `corpus`, `behaviour`, `log`, `budget`, `faults` and `cuts` may be used from the test at any time.
    `source` is served instead of a corpus in memory (made-up files by the million, for one).
    `send_buffer_bytes` keeps the kernel from taking much more of a body than the client has read.
    """

    read_key = READ_KEY
    delete_key = DELETE_KEY
    user_data_key = USER_DATA_KEY

    def __init__(
        self,
        corpus: Corpus | None = None,
        *,
        source: Source | None = None,
        behaviour: Behaviour | None = None,
        send_buffer_bytes: int | None = None,
    ) -> None:
        self.corpus = corpus if corpus is not None else Corpus()
        self.faults = Faults()
        self.cuts = Cuts()
        self.app = Emulator(source or self.corpus, behaviour=behaviour, around=self.faults.around)
        self.behaviour = self.app.behaviour
        self.budget = self.app.budget
        self.log = self.app.log
        self.url = ""
        self.wire_url = ""
        self._send_buffer_bytes = send_buffer_bytes
        self._port = 0
        self._failure: BaseException | None = None
        self._is_up = threading.Event()
        self._is_down = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._server_scope = trio.CancelScope()

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._is_up, "listen")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._failure is not None and error is None:
            raise RuntimeError("the emulator failed") from self._failure

    def stop(self) -> None:
        """Stop for good, cutting off whatever is still being answered; harmless when stopped."""
        if self._token is not None and self._nursery is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._nursery.cancel_scope.cancel)
        self._thread.join(_LIMIT_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the emulator did not stop within {_LIMIT_S} s")

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections (and cut the open ones) inside the context; then listen at `url` again."""
        assert self._token is not None
        self._is_down.clear()
        self._token.run_sync_soon(self._server_scope.cancel)
        self._wait(self._is_down, "stop listening")
        try:
            yield
        finally:
            self._is_up.clear()
            self._token.run_sync_soon(self._come_back)
            self._wait(self._is_up, "listen again")

    def _wait(self, event: threading.Event, what: str) -> None:
        if not event.wait(_LIMIT_S):
            raise TimeoutError(f"the emulator did not {what} within {_LIMIT_S} s")
        if self._failure is not None:
            raise RuntimeError("the emulator failed") from self._failure

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # the thread's end: told to the test instead
            self._failure = error
        finally:
            self._is_up.set()
            self._is_down.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._serve)
            wire_port: int = await nursery.start(serve_proxy, self._port, self.cuts)
            self.wire_url = f"http://127.0.0.1:{wire_port}"
            self._is_up.set()

    def _come_back(self) -> None:
        async def come_back() -> None:
            assert self._nursery is not None
            await self._nursery.start(self._serve)
            self._is_up.set()

        assert self._nursery is not None
        self._nursery.start_soon(come_back)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._server_scope = nursery.cancel_scope
            self.url = await nursery.start(self._listen)
            self._port = int(self.url.rpartition(":")[2])
            task_status.started()
        self._is_down.set()

    async def _listen(self, task_status: trio.TaskStatus[str]) -> None:
        await serve(
            self.app,
            port=self._port,
            send_buffer_bytes=self._send_buffer_bytes,
            task_status=task_status,
        )
