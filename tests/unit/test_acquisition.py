"""Getting what a case lacks: with patience, in the background, and not one request too many."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

import client
from fsmount import acquisition as module
from fsmount.acquisition import Acquisition, Patience, UnavailableError
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.content import Contents
from fsmount.inventory import Inventory, Item
from fsmount.service import Service
from fsmount.store import ContentStore
from tests.support.cases import file_id, make_case
from tests.support.scripted import Fault, ScriptedSource

BODY = b"evidence" * 1000


def api_error(kind: type[client.APIError], status: int = 500) -> client.APIError:
    return kind(status, None, "the service's words")


class Files(ScriptedSource):
    """A service with one body and one record, and errors as scripted."""

    def __init__(self, *faults: Fault, content_md5: str | None = "right") -> None:
        super().__init__(BODY, faults=faults, content_md5=content_md5)
        self.record_errors: list[Exception] = []
        self.asked = 0

    async def get(self, claude_file_id: str) -> client.File:
        self.asked += 1
        if self.record_errors:
            raise self.record_errors.pop(0)
        raw = {"id": claude_file_id, "filename": "late.txt", "mime_type": "text/plain"}
        return client.File.from_dict(raw)

    async def delete(self, claude_file_id: str) -> None:
        raise AssertionError(claude_file_id)


class Lent:
    """An acquisition and what it is made of."""

    def __init__(self, case: Case, parts: SimpleNamespace) -> None:
        self.case = case
        self.acquisition: Acquisition = parts.acquisition
        self.store: ContentStore = parts.store
        self.contents: Contents = parts.contents
        self.reasons: list[str] = parts.reasons

    def item(self, number: int = 0) -> Item:
        with Inventory(self.case.catalog_path) as inventory:
            found = inventory.find(file_id(number))
        assert found is not None
        return found

    async def read(self, number: int = 0) -> int:
        """Have a file's content, and return its size."""
        async with self.acquisition.content(self.item(number)) as acquired:
            with acquired.fd.using():
                return acquired.content.size_bytes or 0


@contextlib.asynccontextmanager
async def acquisition_of(
    case: Case, files: Files | None, *, kept_bytes: int = 1 << 30
) -> AsyncIterator[Lent]:
    reasons: list[str] = []
    with (
        contextlib.closing(Catalog(case.catalog_path)) as catalog,
        contextlib.closing(ContentStore(case.catalog_path, case.content_dir)) as store,
    ):
        async with trio.open_nursery() as nursery:
            service = Service(files, nursery) if files else None
            contents = Contents(
                store,
                service,
                spool_dir=case.spool_dir,
                nursery=nursery,
                journal=lambda *_: None,
            )
            made = Acquisition(
                catalog,
                store,
                contents,
                service,
                lambda *_: None,
                kept_bytes=kept_bytes,
                patience=Patience(),
                on_wait=reasons.append,
            )
            yield Lent(
                case,
                SimpleNamespace(acquisition=made, store=store, contents=contents, reasons=reasons),
            )
            nursery.cancel_scope.cancel()
            await contents.aclose()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path / "case", {}, not_stored=("a", "b", "c", "d", "e"))


async def test_content_is_fetched_once(case, autojump_clock):
    """The second time it is in the case."""
    files = Files()
    async with acquisition_of(case, files) as lent:
        assert len(BODY) == await lent.read()
        assert (case.content_dir / "00" / file_id(0)).exists()
        assert len(BODY) == await lent.read()
    assert 1 == len(files.requests)


@pytest.fixture
def half_a_case(tmp_path: Path) -> Case:
    return make_case(tmp_path / "half", {"a": b"1"}, not_stored=("b",))


async def test_without_a_service_only_what_is_stored_is_had(half_a_case, autojump_clock):
    """The reason says that no request was allowed."""
    async with acquisition_of(half_a_case, None) as lent:
        assert 1 == await lent.read(0)
        with pytest.raises(UnavailableError, match="not stored, and no request"):
            await lent.read(1)
        with pytest.raises(UnavailableError, match="record, and no request"):
            await lent.acquisition.fetch_record(file_id(7))


@pytest.mark.parametrize(
    "error",
    [
        client.APIConnectionError("refused", bytes_sent=False),
        client.APITimeoutError("late", bytes_sent=True),
        api_error(client.ServiceUnavailableError, 503),
        api_error(client.OverloadedError, 529),
        api_error(client.RateLimitError, 429),
        api_error(client.InternalServerError, 500),
    ],
)
async def test_what_may_pass_is_waited_for(case, error, autojump_clock):
    """And said, until it has passed."""
    files = Files(Fault("refuse", error=lambda: error), Fault("refuse", error=lambda: error))
    async with acquisition_of(case, files) as lent:
        assert len(BODY) == await lent.read()
        assert any(str(error) in reason for reason in lent.reasons)
        assert "" == lent.reasons[-1]


async def test_a_service_that_stays_away_ends_all_fetching(case, autojump_clock):
    """The next file costs neither a request nor a minute."""
    error = client.APIConnectionError("refused", bytes_sent=False)
    files = Files(*[Fault("refuse", error=lambda: error)] * 99)
    async with acquisition_of(case, files) as lent:
        with pytest.raises(UnavailableError, match=r"refused|reached"):
            await lent.read(0)
        asked, now = len(files.requests), trio.current_time()
        with pytest.raises(UnavailableError, match=r"refused|reached"):
            await lent.read(1)
        assert (asked, now) == (len(files.requests), trio.current_time())


@pytest.mark.parametrize("kind", [client.AuthenticationError, client.PermissionDeniedError])
async def test_a_refused_key_costs_one_request(case, kind, autojump_clock):
    """All other files would be refused as well."""
    files = Files(*[Fault("refuse", error=lambda: api_error(kind, 403))] * 9)
    async with acquisition_of(case, files) as lent:
        for number in range(3):
            with pytest.raises(UnavailableError, match="the service's words"):
                await lent.read(number)
    assert 1 == len(files.requests)


async def test_a_file_that_is_gone_concerns_no_other(case, autojump_clock):
    """It is said, and the next one is fetched."""
    files = Files(Fault("refuse", error=lambda: api_error(client.NotFoundError, 404)))
    async with acquisition_of(case, files) as lent:
        with pytest.raises(UnavailableError, match="does not have it any more"):
            await lent.read(0)
        assert len(BODY) == await lent.read(1)
        with Inventory(case.catalog_path) as inventory:  # nor is it asked for again by the next run
            assert inventory.find(file_id(0)) is None


async def test_a_service_that_fails_at_everything_is_left_alone(case, autojump_clock):
    """One file may be the reason of an internal error; three in a row are not."""
    error = api_error(client.InternalServerError)
    error.is_final = True
    files = Files(*[Fault("refuse", error=lambda: error)] * 99)
    async with acquisition_of(case, files) as lent:
        for number in range(5):
            with pytest.raises(UnavailableError):
                await lent.read(number)
    assert 3 == len(files.requests)


async def test_wrong_bytes_are_never_handed_out(case, autojump_clock):
    """After the second try the file is given up."""
    files = Files(Fault("flip", 5), Fault("flip", 5))
    async with acquisition_of(case, files) as lent:
        with pytest.raises(UnavailableError, match="wrong bytes"):
            await lent.read(0)
    assert 2 == len(files.requests)


async def test_bytes_that_nothing_vouches_for_are_not_verified(case, autojump_clock):
    """Neither when they come, nor when they are stored; that costs one request in all."""
    files = Files(content_md5=None)
    async with acquisition_of(case, files) as lent:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="nothing vouches"):
                await lent.read(0)
            await trio.sleep(1)
    assert 1 == len(files.requests)


async def test_a_record_is_fetched_into_the_catalog(case, autojump_clock):
    """And an id that the service does not know is not shown any more."""
    files = Files()
    files.record_errors = [
        client.APIConnectionError("refused", bytes_sent=False),
        api_error(client.NotFoundError, 404),
    ]
    async with acquisition_of(case, files) as lent:
        with pytest.raises(UnavailableError, match="does not know it"):
            await lent.acquisition.fetch_record(file_id(0))
        with Inventory(case.catalog_path) as inventory:
            assert inventory.find(file_id(0)) is None
        await lent.acquisition.fetch_record(file_id(1))
        record = lent.item(1).record
        assert isinstance(record, client.File)
        assert "late.txt" == record.filename


async def test_what_was_fetched_beyond_the_bound_goes_again(case, autojump_clock):
    """What was there before stays, and so does what is known of the rest."""
    files = Files()
    async with acquisition_of(case, files, kept_bytes=2 * len(BODY)) as lent:
        for number in range(4):
            await lent.read(number)
            lent.acquisition.make_room()
        rows: list[Any] = [lent.store.find(file_id(number)) for number in range(4)]
        assert [False, False, True, True] == [row.is_stored for row in rows]
        assert {len(BODY)} == {row.size_bytes for row in rows}


def test_what_killed_exports_left_is_removed_and_nothing_else(case):
    """The spool of a running one stays, and so does the mount's."""
    (case.spool_dir / "mounts").touch()
    leftover = case.path / "export-spool-old"
    leftover.mkdir()
    (leftover / "half").touch()
    with module._own_spool_dir(case) as first:
        (first / "mine").touch()
        assert not leftover.exists()
        with module._own_spool_dir(case) as second:
            assert first != second
            assert (first / "mine").exists()
    assert ["mounts"] == [path.name for path in case.path.glob("*spool*/*")]
