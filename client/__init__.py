"""Client of the Compliance API's files: finding them, records, contents, deletion; async and ordinary.

    with client.ComplianceClient(key) as api:
        record = api.files.get("claude_file_...")
        api.files.download_to_file(record.id, "evidence.bin")

Where files are is found by a walk over chats and projects; see `Walk` and `Scope`.

Requests are retried as the API asks for and share one budget; see `AsyncComplianceClient`.
"""

from client._client import (
    DEFAULT_BASE_URL,
    AsyncComplianceClient,
    ComplianceClient,
)
from client._content import AsyncDownloadStream, ContentStream, DownloadStream
from client._errors import (
    AnswerTooLargeError,
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BudgetExhaustedError,
    ComplianceError,
    ConflictError,
    ContentMismatchError,
    FileTooLargeError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RangeNotSatisfiableError,
    RateLimitError,
    ServiceUnavailableError,
    TruncatedError,
)
from client._files import (
    Artifacts,
    AsyncArtifacts,
    AsyncFiles,
    AsyncGeneratedFiles,
    Files,
    GeneratedFiles,
)
from client._listed import Chat, Family, Mention, Page, Project, User
from client._models import Artifact, File, GeneratedFile
from client._pace import Budget, Priority, Stats, Urgency
from client._pages import AsyncPages, Pages
from client._scope import Scope
from client._walk import Listing, Step, Walk

__all__ = [
    "DEFAULT_BASE_URL",
    "APIConnectionError",
    "APIError",
    "APITimeoutError",
    "AnswerTooLargeError",
    "Artifact",
    "Artifacts",
    "AsyncArtifacts",
    "AsyncComplianceClient",
    "AsyncDownloadStream",
    "AsyncFiles",
    "AsyncGeneratedFiles",
    "AsyncPages",
    "AuthenticationError",
    "BadRequestError",
    "Budget",
    "BudgetExhaustedError",
    "Chat",
    "ComplianceClient",
    "ComplianceError",
    "ConflictError",
    "ContentMismatchError",
    "ContentStream",
    "DownloadStream",
    "Family",
    "File",
    "FileTooLargeError",
    "Files",
    "GeneratedFile",
    "GeneratedFiles",
    "InternalServerError",
    "InvalidResponseError",
    "Listing",
    "Mention",
    "NotFoundError",
    "OverloadedError",
    "Page",
    "Pages",
    "PermissionDeniedError",
    "Priority",
    "Project",
    "RangeNotSatisfiableError",
    "RateLimitError",
    "Scope",
    "ServiceUnavailableError",
    "Stats",
    "Step",
    "TruncatedError",
    "Urgency",
    "User",
    "Walk",
]
