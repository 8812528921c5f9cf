"""The emulator's files as a plain web server shows them: listings in HTML, HEAD with lengths, ranges.

It is for tools that know nothing of the Compliance API, such as rclone's `http` backend. Latency, bandwidth
and the request budget are those of the emulator beside it, and its requests are in the same log.

The tree: `/` lists a directory for each file id, `/<id>/` lists one file, which has the bytes of the content.
"""

import html
import math
from collections.abc import Iterable
from email.utils import format_datetime
from urllib.parse import quote

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from fsmount.demo.app import Emulator
from fsmount.demo.bodies import ContentAnswer, UnsatisfiableRangeError, span_of
from fsmount.demo.generated import GeneratedCorpus
from fsmount.demo.model import StoredFile
from fsmount.demo.requestlog import LoggedRequest


class Facade:
    """An ASGI application beside an emulator.

    `honours_range`: off, a range is answered with the whole file, as servers may.
    """

    def __init__(
        self, emulator: Emulator, corpus: GeneratedCorpus, *, honours_range: bool = True
    ) -> None:
        self._emulator = emulator
        self._corpus = corpus
        self._honours_range = honours_range

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, under the same conditions as the emulator."""
        request = Request(scope)
        entry = LoggedRequest(request.method, scope["path"], "", request.headers.get("range"))

        async def counting(message: Message) -> None:
            entry.bytes_sent += len(message.get("body", b""))
            await send(message)

        self._emulator.log.begin(entry)
        try:
            await trio.sleep(self._emulator.behaviour.latency_s)
            await self._answer(request)(scope, receive, counting)
        finally:
            self._emulator.log.end(entry)

    def _answer(self, request: Request) -> Response:
        grant = self._emulator.budget.spend(trio.current_time())
        if not grant.is_granted:
            retry_after = str(max(1, math.ceil(grant.resets_in_s)))
            return Response(status_code=429, headers={"retry-after": retry_after})
        if request.method not in ("GET", "HEAD"):
            return Response(status_code=405)
        directory, _, name = request.scope["path"].removeprefix("/").partition("/")
        if not directory:
            return _listing(f"{file_id}/" for file_id in self._corpus.file_ids())
        stored = self._corpus.find_file(directory)
        if stored is None or name not in ("", filename_of(stored)):
            return Response(status_code=404)
        return self._file(request, stored) if name else _listing([filename_of(stored)])

    def _file(self, request: Request, stored: StoredFile) -> Response:
        content = stored.content
        assert content is not None
        headers = {
            "content-type": "application/octet-stream",
            "accept-ranges": "bytes" if self._honours_range else "none",
            "last-modified": format_datetime(self._corpus.organizations[0].created_at, usegmt=True),
        }
        if request.method == "HEAD":
            return Response(headers=headers | {"content-length": str(content.size_bytes)})
        span = None
        if self._honours_range:
            try:
                span = span_of(request.headers.get("range"), content.size_bytes)
            except UnsatisfiableRangeError:
                return Response(
                    status_code=416, headers={"content-range": f"bytes */{content.size_bytes}"}
                )
        length = content.size_bytes
        if span is not None:
            length = span.stop - span.start
            headers["content-range"] = f"bytes {span.start}-{span.stop - 1}/{content.size_bytes}"
        headers["content-length"] = str(length)
        return ContentAnswer(content, self._emulator.behaviour, headers, span=span)


def filename_of(stored: StoredFile) -> str:
    """Return the name that the record of a file gives."""
    return str(stored.record["filename"])


def _listing(names: Iterable[str]) -> Response:
    links = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    return Response(f"<html><body><pre>\n{links}</pre></body></html>\n", media_type="text/html")
