"""Which programs may cause requests: thumbnailers and indexers would pull everything they come across."""

from fsmount.answers import MountCounters
from fsmount.callers import Caller, program_of
from fsmount.errors import AccessRefusedError


class Gate:
    """Turns away the programs that match `deny_programs`, and counts how often."""

    def __init__(self, deny_programs: frozenset[str], counters: MountCounters) -> None:
        self._deny_programs = deny_programs
        self._counters = counters

    def require(self, claude_file_id: str, caller: Caller | None) -> None:
        """Let a caller cause a request for a file, or not.

        Errors: AccessRefusedError.
        """
        if not self._deny_programs or caller is None:
            return
        program = program_of(caller.tid)
        if program.matches(self._deny_programs):
            self._counters.denied += 1
            raise AccessRefusedError(
                f"{claude_file_id}: {program.comm} may not pull what is not stored"
            )
