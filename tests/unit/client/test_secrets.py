"""The key is in the requests and nowhere else; errors are fit for a log."""

import logging
import traceback

import pytest

import client
from tests.support.network import END, FILE_ID, KEY, REFUSE, RESET, Network, failure, head

TROUBLES = [
    REFUSE,
    RESET,
    END,
    b"not HTTP\r\n\r\n",
    failure(401, f"invalid key {KEY}\n\x1b[31mtry again", kind=f"type {KEY}"),
    failure(403, "Missing required scopes. Got: [a] Needed: [b]"),
    failure(404),
    failure(429),
    failure(500),
    [head(200, {"content-length": "9", "content-encoding": "gzip"}), b"123456789"],
    [head(302, {"location": "http://x/", "content-length": "0"})],
]


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("method", ["get", "download", "delete"])
def test_no_error_shows_the_key(front, trouble, method, caplog):
    """Neither an error, its causes, nor any log line of any library holds the key."""
    caplog.set_level(logging.DEBUG)

    async def work(api):
        with pytest.raises(client.ComplianceError) as caught:
            await getattr(api.files, method)(FILE_ID, **({} if method == "download" else NO_RETRY))
        return caught.value

    error = front.run(Network([trouble]), work, max_retries=0)
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert str(error).isprintable()
    assert FILE_ID in str(error)


NO_RETRY = {"max_retries": 0}


def test_no_object_shows_the_key():
    """What is printed of a client, its parts and options has no key."""
    network = Network()
    for api in (network.client(), network.async_client()):
        transport = api._transport
        shown = [api, api.files, transport, transport._judge, transport._judge.pacer]
        assert KEY not in repr(shown)
    assert KEY not in repr(client._judge.Options(KEY, "http://x", 1, None, 1, None, "fsmount/0"))


def test_a_missing_scope_can_be_read():
    """A 403 says which scope is missing."""
    network = Network([failure(403, "Missing required scopes. Got: [a] Needed: [b]")])
    with (
        network.client() as api,
        pytest.raises(client.PermissionDeniedError, match=r"Needed: \[b\] \(request req_1\)"),
    ):
        api.files.get(FILE_ID)


@pytest.mark.parametrize("key", ["", " ", "sk ant", "sk-ant\n", "sk-änt", "sk\x00"])
def test_a_key_that_cannot_be_one_is_refused_unshown(key):
    """A key with a stray character is refused at once, without repeating it."""
    with pytest.raises(ValueError, match="API key") as caught:
        client.ComplianceClient(key)
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.test",
        "ftp://api.test",
        "http://",
        "http://api.test?x=1",
        "http://a.test/#f",
        "//a",
        "http://a:port",
    ],
)
def test_an_impossible_base_url_is_refused(base_url):
    """A base URL that can't be one is the caller's mistake, not a failed connection."""
    with pytest.raises(ValueError, match="base URL"):
        client.AsyncComplianceClient("k", base_url=base_url)


@pytest.mark.parametrize(
    "option", [{"timeout": 0}, {"max_retries": -1}, {"max_wait_s": -1}, {"max_rpm": 0}]
)
def test_an_impossible_bound_is_refused(option):
    """Bounds that make no sense are the caller's mistake."""
    with pytest.raises(ValueError, match=r"max_|timeout"):
        client.ComplianceClient("k", **option)


def test_the_public_names_are_sorted_and_there():
    """__all__ holds what the package offers, in order, and every name resolves."""
    names = [name for name in client.__all__ if not name.isupper()]
    assert sorted(names, key=str) == names
    assert all(hasattr(client, name) for name in client.__all__)
