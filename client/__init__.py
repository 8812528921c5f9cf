"""Client of the Compliance API's files: records, contents and deletion, async and ordinary.

    with client.ComplianceClient(key) as api:
        record = api.files.get("claude_file_...")
        api.files.download_to_file(record.id, "evidence.bin")

Requests are retried as the API asks for and share one budget; see `AsyncComplianceClient`.
"""

from client._client import (
    DEFAULT_BASE_URL,
    AsyncComplianceClient,
    ComplianceClient,
)
from client._content import AsyncDownloadStream, ContentStream, DownloadStream
from client._errors import (
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
from client._models import Artifact, File, GeneratedFile
from client._pace import Budget, Priority, Stats

__all__ = [
    "DEFAULT_BASE_URL",
    "APIConnectionError",
    "APIError",
    "APITimeoutError",
    "Artifact",
    "Artifacts",
    "AsyncArtifacts",
    "AsyncComplianceClient",
    "AsyncDownloadStream",
    "AsyncFiles",
    "AsyncGeneratedFiles",
    "AuthenticationError",
    "BadRequestError",
    "Budget",
    "BudgetExhaustedError",
    "ComplianceClient",
    "ComplianceError",
    "ConflictError",
    "ContentMismatchError",
    "ContentStream",
    "DownloadStream",
    "File",
    "FileTooLargeError",
    "Files",
    "GeneratedFile",
    "GeneratedFiles",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "Priority",
    "RangeNotSatisfiableError",
    "RateLimitError",
    "ServiceUnavailableError",
    "Stats",
    "TruncatedError",
]
