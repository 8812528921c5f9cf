"""What is said of a download that went wrong: what happened, to which file, and what to do."""

from fsmount.errors import ContentError, MismatchError, SizeDiffersError


def wrong_bytes(claude_file_id: str, what: str, request_id: str | None) -> MismatchError:
    """Return the error for bytes that the service should not have sent."""
    return MismatchError(
        f"{claude_file_id}: wrong bytes came from the service: {what} (request {request_id})"
    )


def wrong_size(
    claude_file_id: str, recorded: int | None, true: int, request_id: str | None
) -> SizeDiffersError | None:
    """Return the error for a right body of another size than its record says, None if it is that one."""
    if recorded is None or recorded == true:
        return None
    return SizeDiffersError(
        f"{claude_file_id}: the record says {recorded} bytes, the service sent {true}"
        f" (request {request_id}); open it again to read it at its true size"
    )


def disk_trouble(claude_file_id: str, error: OSError) -> ContentError:
    """Return the error for bytes that can't be kept."""
    return ContentError(
        f"{claude_file_id}: can't keep its bytes in the case: {error.strerror or error};"
        " make room on that disk or place the case elsewhere"
    )


def lost_bytes(claude_file_id: str, offset: int) -> ContentError:
    """Return the error for bytes that were written and can't be read back."""
    return ContentError(
        f"{claude_file_id}: the spool lost bytes at {offset}; check the disk that holds the case"
    )
