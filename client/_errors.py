"""What can go wrong when talking to the Compliance API, as classes.

Everything that this package raises on purpose is a `ComplianceError`. Messages are one line, name the
file where it is known and the request id where the server gave one; they never contain the key.
"""


class ComplianceError(Exception):
    """Base of every error of this package."""


class APIError(ComplianceError):
    """The server answered with an error status.

    Shape: `type` and `message` from the body's `error` object, None and the bare status where there is none.
    """

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
        self.request_id = request_id
        subject = f"{about}: " if about else ""
        kind = f" {type}" if type else ""
        request = f" (request {request_id})" if request_id else ""
        super().__init__(f"{subject}{status}{kind}: {self.message}{request}")


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
    """429: the organization's request budget is used up; `retry_after_s` is the server's floor."""

    retry_after_s: float | None = None


class InternalServerError(APIError):
    """500: the server failed."""


class ServiceUnavailableError(APIError):
    """502, 503 or 504: the server can't be reached behind its front."""


class OverloadedError(APIError):
    """529: the service is overloaded."""


class APIConnectionError(ComplianceError):
    """No answer came because the connection failed.

    `bytes_sent` says whether the server may have seen the request.
    """

    def __init__(self, message: str, *, bytes_sent: bool = False) -> None:
        super().__init__(message)
        self.bytes_sent = bytes_sent


class APITimeoutError(APIConnectionError):
    """No byte came within the timeout."""


class InvalidResponseError(ComplianceError):
    """The answer is not what the API documents, so nothing of it was used."""


class TruncatedError(ComplianceError):
    """The body ended before its announced or proper end."""


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
