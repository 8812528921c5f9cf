"""What can go wrong when talking to the Compliance API, as classes.

Everything that this package raises on purpose is a `ComplianceError`. Messages are one line, name the
file where it is known and the request id where the server gave one; they never contain the key.
"""


class ComplianceError(Exception):
    """Base of every error of this package.

    Shape: `request_id` is the server's name for the request, which its support asks for; None without one.
    """

    def __init__(self, message: str = "", *, request_id: str | None = None) -> None:
        self.request_id = request_id
        super().__init__(f"{message} (request {request_id})" if request_id else message)


class APIError(ComplianceError):
    """The server answered with an error status.

    Shape: `type` and `message` from the body's `error` object, None and the bare status where there is none;
    `is_final` where the server said that trying again is of no use.
    Units: `retry_after_s` seconds, the server's floor for the next try; None when it named none.
    """

    is_final: bool = False
    retry_after_s: float | None = None

    def __init__(
        self,
        status: int,
        type: str | None = None,  # noqa: A002 - the API's own word for it
        message: str | None = None,
        request_id: str | None = None,
        *,
        about: str | None = None,
    ) -> None:
        self.status = status
        self.type = type
        self.message = message or f"HTTP status {status}"
        subject = f"{about}: " if about else ""
        kind = f" {type}" if type else ""
        super().__init__(f"{subject}{status}{kind}: {self.message}", request_id=request_id)


class BadRequestError(APIError):
    """400: the request was malformed."""


class AuthenticationError(APIError):
    """401: the key is missing, wrong or revoked."""


class PermissionDeniedError(APIError):
    """403: the key lacks a scope; the message says which."""


class NotFoundError(APIError):
    """404: there is no such object, or it has been deleted."""


class ConflictError(APIError):
    """409: the request conflicts with the state of the object."""


class RangeNotSatisfiableError(APIError):
    """416: the range asked for lies beyond the end; `total` is the size where the server told it."""

    total: int | None = None


class RateLimitError(APIError):
    """429: the organization's request budget is used up; `retry_after_s` says until when, if known."""


class InternalServerError(APIError):
    """500: the server failed."""


class ServiceUnavailableError(APIError):
    """502, 503, 504, or from 520 on: the server can't be reached behind its front."""


class OverloadedError(APIError):
    """529: the service is overloaded."""


class APIConnectionError(ComplianceError):
    """No answer came, or not all of it, because the connection failed.

    `bytes_sent` says whether the server may have seen the request, and acted on it.
    """

    def __init__(
        self, message: str = "", *, bytes_sent: bool = False, request_id: str | None = None
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.bytes_sent = bytes_sent


class APITimeoutError(APIConnectionError):
    """The connection was not made in time, or no byte came over it within the timeout."""


class InvalidResponseError(ComplianceError):
    """The answer is not what the API documents, so nothing of it was used."""


class AnswerTooLargeError(InvalidResponseError):
    """A list or record is larger than is taken into memory; asking for less at once may help."""


class TruncatedError(ComplianceError):
    """The body ended before its announced or proper end; also: it was given up, and asked for more."""


class ContentMismatchError(ComplianceError):
    """The bytes do not have the digest that came with them."""


class FileTooLargeError(ComplianceError):
    """The body is larger than the caller allows to hold in memory."""

    def __init__(self, message: str, *, limit_bytes: int) -> None:
        super().__init__(message)
        self.limit_bytes = limit_bytes


class BudgetExhaustedError(ComplianceError):
    """The request budget would not be free again within the time the caller allows."""

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s
