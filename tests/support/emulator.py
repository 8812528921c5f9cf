"""The emulator running on loopback in a thread of the test process.

The server has a clock and a scheduler of its own, so a test may use a real client, a subprocess or a
mount against it, while it reads the log and turns the knobs directly.
"""

import contextlib
import threading
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

_START_LIMIT_S = 5.0
_STOP_LIMIT_S = 5.0


class RunningEmulator:
    """The emulator at `url` while the context is open.

    `corpus`, `behaviour`, `log`, `budget` and `faults` may be used from the test at any time.
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
        self.app = Emulator(source or self.corpus, behaviour=behaviour, around=self.faults.around)
        self.behaviour = self.app.behaviour
        self.budget = self.app.budget
        self.log = self.app.log
        self.url = ""
        self._send_buffer_bytes = send_buffer_bytes
        self._failure: BaseException | None = None
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulator", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._cancel_scope: trio.CancelScope | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._is_listening.wait(_START_LIMIT_S):
            raise TimeoutError(f"the emulator did not listen within {_START_LIMIT_S} s")
        if self._failure is not None:
            raise RuntimeError("the emulator did not start") from self._failure
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
        """Stop serving, cutting off whatever is still being answered; harmless when stopped."""
        if self._token is not None and self._cancel_scope is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._cancel_scope.cancel)
        self._thread.join(_STOP_LIMIT_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the emulator did not stop within {_STOP_LIMIT_S} s")

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._failure = error
        finally:
            self._is_listening.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._cancel_scope:
            async with trio.open_nursery() as nursery:
                self.url = await nursery.start(self._serve)
                self._is_listening.set()

    async def _serve(self, task_status: trio.TaskStatus[str]) -> None:
        buffer_bytes = self._send_buffer_bytes
        await serve(self.app, send_buffer_bytes=buffer_bytes, task_status=task_status)
