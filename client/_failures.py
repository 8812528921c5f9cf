"""What the HTTP library's failures mean: our own errors, which say whether the request may have arrived."""

import ssl

import httpx

from client._errors import APIConnectionError, APITimeoutError, ComplianceError, TruncatedError

FAILURES = (httpx.TransportError, ssl.SSLError, OSError)
_NEVER_ARRIVED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


def unanswered(error: Exception, about: str) -> APIConnectionError:
    """Return our error for a request that got no answer; it says whether the request may have arrived."""
    arrived = not isinstance(error, _NEVER_ARRIVED)
    if isinstance(error, httpx.TimeoutException):
        what = "no answer came in time" if arrived else "could not connect in time"
        return APITimeoutError(f"{about}: {what}", bytes_sent=arrived)
    what = "the connection failed" if arrived else "could not connect"
    return APIConnectionError(f"{about}: {what}: {_plain(error)}", bytes_sent=arrived)


def interrupted(error: Exception, about: str, request_id: str | None) -> ComplianceError:
    """Return our error for a body that broke off."""
    if isinstance(error, httpx.TimeoutException):
        what = f"{about}: no more bytes of the answer came in time"
        return APITimeoutError(what, bytes_sent=True, request_id=request_id)
    if isinstance(error, httpx.RemoteProtocolError):
        what = f"{about}: the body broke off: {_plain(error)}"
        return TruncatedError(what, request_id=request_id)
    what = f"{about}: the connection failed within the answer: {_plain(error)}"
    return APIConnectionError(what, bytes_sent=True, request_id=request_id)


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
