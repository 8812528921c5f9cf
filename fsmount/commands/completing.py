"""`fsmount completion`.

The scripts are the command line library's, made from what --help is made from. What is added here is what it
leaves to whoever installs them: paths, which the shell itself completes best, and taking part in the shell's
own ways of loading completions.
"""

from collections.abc import Callable
from typing import Literal

from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]

_BASH = r"""
# Nothing to offer means a path. Those that are offered are left to readline too: it puts a slash behind
# directories and quotes what has to be; a case may have the name of a file here.
_fsmount_or_path() {
  local IFS=$'\n'
  _fsmount "$@"
  local first="${COMPREPLY[0]}" cases="${XDG_DATA_HOME:-$HOME/.local/share}/fsmount/cases"
  if [[ "$first" == */* || ( -e "$first" && ! -d "$cases/$first" ) ]]; then
    COMPREPLY=()
  fi
}

complete -o default -F _fsmount_or_path fsmount
"""

_ZSH = r"""
# A case may be a path.
_fsmount() {
  _cyclopts_fsmount "$@"
  (( compstate[nmatches] )) || [[ $PREFIX != */* ]] || _files
}

# In a directory of $fpath this file is the function, read when it is first asked; else it is registered.
if [[ "${funcstack[1]}" == _fsmount ]]; then
  _fsmount "$@"
else
  compdef _fsmount fsmount
fi
"""

_FISH = r"""
# A case may be a path.
complete -c fsmount -n 'string match -q -- "*/*" (commandline -ct)' --force-files
"""

_ADDED = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion_of(app: App) -> Callable[[Shell], int]:
    """Return the command that prints completion scripts for an app; it has no app of its own."""

    def completion(shell: Shell, /) -> int:
        """Print a script that makes a shell complete commands, options, their values and names of cases.

        bash: fsmount completion bash >~/.local/share/bash-completion/completions/fsmount

        zsh: fsmount completion zsh >DIRECTORY/_fsmount, where DIRECTORY is in $fpath

        fish: fsmount completion fish >~/.config/fish/completions/fsmount.fish

        Parameters
        ----------
        shell
            The shell that is to complete.
        """
        print(app.generate_completion(shell=shell) + _ADDED[shell], end="")
        return 0

    return completion
