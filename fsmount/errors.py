"""What can go wrong in the file system, and the only table from exception to errno.

Every message is one line for a person: what happened, to which file, what to do. The classes say what
kind of trouble it is; nothing else decides which errno the kernel is told.
"""

import errno
from typing import Literal

import client


class FsmountError(Exception):
    """Base of the errors that this package raises itself."""


class UsageError(FsmountError):
    """The command line, environment or configuration file asks for something impossible (exit 2)."""


class CaseError(FsmountError):
    """The case directory can't be used: not a case, newer format, corrupt, disk full."""


class CaseLockedError(CaseError):
    """Another process holds the case; the message says which."""


class LostError(CaseError):
    """Stored bytes are gone from the disk, or not those that were recorded; the message says how."""


class UncheckedError(CaseError):
    """Stored bytes may not be those that were recorded: their file was changed since."""


class CustodyError(CaseError):
    """The custody log can't be written or read."""


class CollectError(FsmountError):
    """Collecting can't go on; the message says why, and what is stored stays."""


class MountError(FsmountError):
    """The mountpoint can't be used, or mounting failed."""


class ExportError(FsmountError):
    """Files can't be exported to this directory; what is there already stays."""


class AbsentError(FsmountError):
    """There is no such entry."""


class StaleError(FsmountError):
    """An open file is gone from the service and its bytes are not stored."""


class NotADirectoryHereError(FsmountError):
    """A directory operation reached something else."""


class RefusedError(FsmountError):
    """The operation is refused by a guard of this mount."""


class AccessRefusedError(FsmountError):
    """This caller may not have the content now."""


class ReadOnlyError(FsmountError):
    """Something would have changed the tree in a way that this mount never allows."""


class NotEmptyError(FsmountError):
    """A directory whose content still exists can't be removed."""


class NoAttributeError(FsmountError):
    """There is no such extended attribute."""


class DeadlineError(FsmountError):
    """The answer did not come within the mount's timeout."""


class ContentError(FsmountError):
    """The bytes of a file can't be given out."""


class MismatchError(ContentError):
    """The bytes that came do not have the hash that was promised."""


class SizeDiffersError(ContentError):
    """The body is longer or shorter than the record said."""


class OfflineError(ContentError):
    """The case does not hold it, and the mount makes no requests."""


class UnreachableError(FsmountError):
    """The service is known to be unreachable; requests fail at once until a probe succeeds."""


class CallerGoneError(FsmountError):
    """The process that asked was killed; nobody reads this answer."""


ERRNO_OF: dict[type[BaseException], int] = {
    AbsentError: errno.ENOENT,
    client.NotFoundError: errno.ENOENT,
    StaleError: errno.ESTALE,
    NotADirectoryHereError: errno.ENOTDIR,
    RefusedError: errno.EPERM,
    AccessRefusedError: errno.EACCES,
    client.AuthenticationError: errno.EACCES,
    client.PermissionDeniedError: errno.EACCES,
    client.ConflictError: errno.EBUSY,
    ReadOnlyError: errno.EROFS,
    NotEmptyError: errno.ENOTEMPTY,
    NoAttributeError: errno.ENODATA,
    DeadlineError: errno.ETIMEDOUT,
    client.APITimeoutError: errno.ETIMEDOUT,
}


Trouble = Literal["refused", "away", "throttled", "busy"]
# What does not lie in what was asked for, but in who asks, or in the service of this moment.
_TROUBLE_OF: dict[type[BaseException], Trouble] = {
    client.AuthenticationError: "refused",
    client.PermissionDeniedError: "refused",
    UnreachableError: "away",
    client.APIConnectionError: "away",
    client.TruncatedError: "away",
    client.RateLimitError: "throttled",
    client.BudgetExhaustedError: "throttled",
    client.ServiceUnavailableError: "busy",
    client.OverloadedError: "busy",
    client.InternalServerError: "busy",
}


def errno_for(error: BaseException) -> int:
    """Return the errno of the nearest listed class; EIO for anything else."""
    return next((ERRNO_OF[kind] for kind in type(error).__mro__ if kind in ERRNO_OF), errno.EIO)


def trouble_of(error: BaseException) -> Trouble | None:
    """Say what an error tells of the key or the service; None where it is about what was asked for.

    `refused` stays; `away`, `throttled` and `busy` may be over in a moment.
    """
    return next((_TROUBLE_OF[kind] for kind in type(error).__mro__ if kind in _TROUBLE_OF), None)


def is_expected(error: BaseException) -> bool:
    """Say whether an error's own words are for a person; any other is a bug to be reported."""
    return isinstance(error, FsmountError | client.ComplianceError | OSError)


def first_of(error: BaseException) -> BaseException:
    """Return the one error behind the groups that nurseries make of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
