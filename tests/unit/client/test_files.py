"""Records, downloads and deletions, as both clients have them."""

import base64
import hashlib
import os
import stat

import pytest

import client
from tests.support.network import (
    END,
    FILE_ID,
    REFUSE,
    RESET,
    STALL,
    Network,
    chunked,
    document,
    failure,
    head,
    record,
)

DATA = b"some evidence"
MD5 = hashlib.md5(DATA).hexdigest()
GOOD = chunked(DATA, content_md5=base64.b64encode(hashlib.md5(DATA).digest()).decode())
WRONG = chunked(b"some evidencE", content_md5=base64.b64encode(hashlib.md5(DATA).digest()).decode())
UNVOUCHED = chunked(DATA)
CUT = [*chunked(DATA, end=False), END]
MD5_OF_ABC = base64.b64encode(hashlib.md5(b"abc").digest()).decode()
DELETED = document({"id": FILE_ID, "type": "claude_file_deleted"})


def test_a_record_is_fetched(front):
    """Get returns the record of the file asked for, by one request."""
    network = Network([record(filename="a.txt", size_bytes=3)])
    file = front.run(network, lambda api: api.files.get(FILE_ID))
    assert client.File(FILE_ID, filename="a.txt", size_bytes=3) == file
    assert [("GET", f"/v1/compliance/apps/chats/files/{FILE_ID}")] == [
        (sent.method, sent.path) for sent in network.sent
    ]


def test_the_siblings_are_fetched_from_their_own_places(front):
    """Generated files and artifacts have paths, records and contents of their own."""
    network = Network(
        [
            document({"id": "g1", "filename": "plot.png"}),
            GOOD,
            document({"id": "a1", "version_id": "v1", "title": "Essay"}),
            GOOD,
        ]
    )

    async def work(api):
        return (
            (await api.generated_files.get("g1")).filename,
            await api.generated_files.download("g1"),
            (await api.artifacts.get("v1")).title,
            await api.artifacts.download("v1"),
        )

    assert ("plot.png", DATA, "Essay", DATA) == front.run(network, work)
    base = "/v1/compliance/apps"
    assert [
        f"{base}/chats/generated-files/g1",
        f"{base}/chats/generated-files/g1/content",
        f"{base}/artifacts/v1",
        f"{base}/artifacts/v1/content",
    ] == [sent.path for sent in network.sent]


def test_a_base_url_may_have_a_path(front):
    """Behind a gateway, paths are below that of the base URL."""
    network = Network([record()])
    front.run(network, lambda api: api.files.get(FILE_ID), base_url="http://gw.test/claude/")
    assert f"/claude/v1/compliance/apps/chats/files/{FILE_ID}" == network.sent[0].path


@pytest.mark.parametrize("method", ["get", "download", "delete"])
def test_an_impossible_id_is_never_sent(front, method):
    """What would lead to another path is the caller's mistake, and costs no request."""
    network = Network()

    async def work(api):
        with pytest.raises(ValueError, match="not an id"):
            await getattr(api.files, method)("../organizations")

    front.run(network, work)
    assert [] == network.sent


@pytest.mark.parametrize(
    "answer",
    [
        record("claude_file_other"),
        document([]),
        document({"id": FILE_ID, "size_bytes": -1}),
        document({"id": FILE_ID}, content_encoding="br"),
        [head(204, {})],
    ],
)
def test_an_answer_that_is_not_the_record_is_refused(front, answer):
    """An answer about another file, or none as documented, is an error with the request's id."""

    async def work(api):
        with pytest.raises(client.InvalidResponseError, match=FILE_ID) as caught:
            await api.files.get(FILE_ID)
        assert "req_1" == caught.value.request_id

    front.run(Network([answer]), work)


# -- download --------------------------------------------------------------------------------------


def test_a_content_is_downloaded_and_checked(front):
    """Bytes whose MD5 is what the answer promised cost one request."""
    network = Network([GOOD])
    assert DATA == front.run(network, lambda api: api.files.download(FILE_ID))
    assert 1 == len(network.sent)


def test_without_a_promise_the_record_vouches(front):
    """Without Content-MD5 the record's digest is asked for, and compared."""
    network = Network([UNVOUCHED, record(md5=MD5.upper()), UNVOUCHED, record(md5="0" * 32)])

    async def work(api):
        assert DATA == await api.files.download(FILE_ID)
        with pytest.raises(client.ContentMismatchError, match="0" * 32):
            await api.files.download(FILE_ID)

    front.run(network, work)


def test_the_answers_digest_outranks_the_records(front):
    """Where the answer vouches for its bytes, the record is not asked."""
    network = Network([GOOD])
    assert DATA == front.run(network, lambda api: api.files.download(FILE_ID))


def test_a_content_that_nobody_vouches_for_is_taken_at_its_proper_end(front):
    """Without any digest the proper end is all there is to check."""
    network = Network([UNVOUCHED, record()])
    assert DATA == front.run(network, lambda api: api.files.download(FILE_ID))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (WRONG, client.ContentMismatchError),
        (CUT, client.TruncatedError),
        ([*chunked(DATA, end=False), RESET], client.APIConnectionError),
        ([*chunked(DATA, end=False), STALL], client.APITimeoutError),
        (failure(403), client.PermissionDeniedError),
        (failure(404), client.NotFoundError),
    ],
)
def test_a_failed_download_leaves_nothing(patient_front, tmp_path, answer, kind):
    """Neither bytes nor a file come of a content that does not add up; an old file stays."""
    target = tmp_path / "evidence.bin"
    target.write_bytes(b"old")

    async def work(api):
        with pytest.raises(kind):
            await api.files.download(FILE_ID)
        with pytest.raises(kind):
            await api.files.download_to_file(FILE_ID, target)

    network = Network([answer, answer])
    patient_front.run(network, work)
    assert 0 == network.open_connections
    assert {"evidence.bin": b"old"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_file_appears_whole(front, tmp_path):
    """A good download takes its place in one step, readable by its owner only."""
    target = tmp_path / "evidence.bin"
    target.write_bytes(b"old")
    network = Network([GOOD])
    path = front.run(network, lambda api: api.files.download_to_file(FILE_ID, str(target)))
    assert target == path
    assert [target] == list(tmp_path.iterdir())
    assert (DATA, 0o600) == (target.read_bytes(), stat.S_IMODE(target.stat().st_mode))


def test_a_file_that_only_the_record_vouches_for_is_checked_first(front, tmp_path):
    """A record that promises another digest keeps the file from appearing."""

    async def work(api):
        with pytest.raises(client.ContentMismatchError):
            await api.files.download_to_file(FILE_ID, tmp_path / "a")

    front.run(Network([UNVOUCHED, record(md5="0" * 32)]), work)
    assert [] == os.listdir(tmp_path)


def test_a_directory_that_is_not_there_is_the_systems_error(front, tmp_path):
    """Trouble with the disk stays an OSError, and costs no request."""
    network = Network()

    async def work(api):
        with pytest.raises(FileNotFoundError):
            await api.files.download_to_file(FILE_ID, tmp_path / "missing" / "a")

    front.run(network, work)
    assert [] == network.sent


def test_memory_is_bounded_whatever_was_announced(front):
    """A content larger than allowed is refused, one that just fits is not."""
    network = Network([chunked(b"x" * 60, b"x" * 60), chunked(b"x" * 100), record()])

    async def work(api):
        with pytest.raises(client.FileTooLargeError, match="larger than 100 bytes") as caught:
            await api.files.download(FILE_ID)
        assert 100 == caught.value.limit_bytes
        assert 100 == len(await api.files.download(FILE_ID))

    front.run(network, work, max_download_bytes=100)


# -- delete ----------------------------------------------------------------------------------------


def test_a_deletion_is_confirmed(front):
    """A confirmed deletion returns the id of its request, after one DELETE."""
    network = Network([DELETED])
    assert "req_1" == front.run(network, lambda api: api.files.delete(FILE_ID))
    assert ["DELETE"] == [sent.method for sent in network.sent]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (document({"id": FILE_ID, "type": "file"}), client.InvalidResponseError),
        (
            document({"id": "claude_file_x", "type": "claude_file_deleted"}),
            client.InvalidResponseError,
        ),
        ([head(204, {})], client.InvalidResponseError),
        (failure(404), client.NotFoundError),
        (failure(403), client.PermissionDeniedError),
        (failure(409), client.ConflictError),
        (failure(500), client.InternalServerError),
        (failure(503), client.ServiceUnavailableError),
        (failure(529), client.OverloadedError),
        (RESET, client.APIConnectionError),
        (STALL, client.APITimeoutError),
        (END, client.APIConnectionError),
        ([head(200, {"content-length": "50"}), b'{"id"', END], client.APIConnectionError),
        ([head(200, {"content-length": "50"}), b'{"id"', STALL], client.APITimeoutError),
    ],
)
def test_a_deletion_that_is_not_confirmed_is_an_error_and_not_repeated(patient_front, answer, kind):
    """Anything but a confirmation raises after a single DELETE; a break says that it may be done."""
    network = Network([answer, DELETED])

    async def work(api):
        with pytest.raises(kind) as caught:
            await api.files.delete(FILE_ID)
        return caught.value

    error = patient_front.run(network, work)
    assert 1 == len(network.sent)
    assert getattr(error, "bytes_sent", True)


def test_a_deletion_that_was_not_carried_out_is_repeated(patient_front):
    """After a 429, or without a connection, nothing was deleted: it is tried again."""
    network = Network([REFUSE, failure(429, retry_after="3"), DELETED])
    patient_front.run(network, lambda api: api.files.delete(FILE_ID))
    assert 2 == len(network.sent)


def test_only_files_can_be_deleted():
    """The API has no deletion of generated files and artifacts, so neither has the client."""
    with Network().client() as api:
        assert not hasattr(api.generated_files, "delete")
        assert not hasattr(api.artifacts, "delete")


# -- connections -----------------------------------------------------------------------------------


def _with_surplus(surplus: bytes) -> bytes:
    """Return a content whose body goes on beyond its announced end, as a broken proxy may send it."""
    return head(200, {"content-length": "3", "content-md5": MD5_OF_ABC}) + b"abc" + surplus


def test_what_a_stranger_wrote_confirms_no_deletion(front):
    """The surplus of a body is never the answer to the next request on its connection."""
    network = Network([_with_surplus(DELETED), failure(403)])

    async def read_and_delete(api):
        assert b"abc" == await api.files.download(FILE_ID)
        await api.files.delete(FILE_ID)

    with pytest.raises(client.APIConnectionError, match="went on beyond its end") as caught:
        front.run(network, read_and_delete)
    assert caught.value.bytes_sent  # nobody knows: it has to be asked for
    assert 0 == network.open_connections


def test_what_a_stranger_wrote_is_no_record(front):
    """A request that may be repeated goes out again, on another connection."""
    network = Network(
        [_with_surplus(record(filename="forged")), record(filename="1"), record(filename="2")]
    )

    async def read_and_get(api):
        assert b"abc" == await api.files.download(FILE_ID)
        return await api.files.get(FILE_ID)

    assert "2" == front.run(network, read_and_get).filename
    assert (3, 2) == (len(network.sent), network.connections)
