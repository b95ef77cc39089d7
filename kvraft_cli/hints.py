"""A line of help after an error, on terminals only.

Pure. What scripts read is never changed by it.
"""

from __future__ import annotations

from difflib import get_close_matches

from kvraft_cli.errors import ClusterUnavailable, Failure, ServerRefused
from kvraft_cli.table import COMMANDS, OWN, PROGRAM

_BY_CODE = {
    100: f"`{PROGRAM} ls DIRECTORY` shows what there is",
    101: f"`{PROGRAM} -o extended get KEY` shows the value and index that it has now",
    102: "directories have commands of their own: ls, setdir, updatedir, rmdir, rm --recursive",
    105: f"`{PROGRAM} set KEY VALUE` replaces what is there",
    108: f"`{PROGRAM} rm --recursive KEY` removes it with all that is in it",
    110: f"name a user that may: {PROGRAM} --username NAME ...",
    401: "the history reaches back 1000 changes; read the key again and watch from its index",
}


def for_usage(unknown: str | None, *, overview: bool = False) -> str:
    """The hint for an unknown command; empty if nothing resembles it.

    The overview of all commands, which shows etcdctl's only, gets the names of the others.
    """
    if overview:
        return f"further commands, see `{PROGRAM} NAME --help`: {', '.join(OWN)}\n" if OWN else ""
    if unknown is None:
        return ""
    names = [command.name for command in COMMANDS] + list(OWN)
    close = get_close_matches(unknown, names, n=1)
    return f"hint: did you mean `{PROGRAM} {close[0]}`?\n" if close else ""


def for_failure(failure: Failure) -> str:
    """The hint for a failure; empty if there is none."""
    reason = failure.reason
    if isinstance(reason, ServerRefused) and reason.code in _BY_CODE:
        return f"hint: {_BY_CODE[reason.code]}\n"
    if isinstance(reason, ClusterUnavailable):
        if reason.nobody_there:
            return (
                "hint: is a server running there? `kvraft dev` starts one to try things out; "
                "--endpoints names others\n"
            )
        if any("timeout" in error.text for error in reason.attempts):
            return "hint: --timeout gives slow servers more time\n"
        if any("no leader" in error.text for error in reason.attempts):
            return f"hint: most members have to run; `{PROGRAM} cluster-health` shows which do\n"
    return ""
