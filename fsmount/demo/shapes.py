"""The JSON of every answer: errors, pages, and the records of chats, messages, projects and people."""

import json
import uuid
from collections.abc import Mapping

from starlette.responses import Response

Record = Mapping[str, object]

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    416: "invalid_request_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class RefusedError(Exception):
    """Ends a request with an error answer."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def json_answer(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON answer; escaped to ASCII only where a name is not valid Unicode."""
    try:
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        data = json.dumps(body, separators=(",", ":")).encode()
    return Response(data, status, headers, media_type="application/json")


def error_type(status: int) -> str:
    """Return the `error.type` that goes with a status."""
    return _ERROR_TYPES.get(status, "api_error")


def error_body(status: int, message: str, *, kind: str | None = None) -> Record:
    """Return the body of every error."""
    return {"error": {"type": kind or error_type(status), "message": message}}


def error_answer(error: RefusedError) -> Response:
    """Return the answer that an error ends in."""
    body = error_body(error.status, str(error))
    return json_answer(body, status=error.status, headers=error.headers)


def not_found(what: str, asked_id: str) -> RefusedError:
    """Return the 404, which names an internal UUID instead of the id that was sent."""
    internal = uuid.uuid5(uuid.NAMESPACE_OID, asked_id.encode("utf-8", "replace").decode())
    return RefusedError(404, f"{what} not found: {internal}")
