"""What an operator is to do about data that a member refuses, as commands to type.

A refusal names the file, what is wrong with it and one of these. The functions that find damage do
not know which data directory they work for; `DATA_DIR` stands for it until the message leaves the
package.
"""

from __future__ import annotations

from typing import Final

from kvraft.errors import Corrupt, ForeignData

DATA_DIR: Final = "DATA-DIR"
REPLACE: Final = (
    "While other members run: etcdctl member remove ID (of this one, see etcdctl member list), move"
    f" {DATA_DIR} away, and add it again as a new member: etcdctl member add NAME PEER-URL, then"
    " start it with --initial-cluster-state existing. If it was the only member: kvraft restore"
    " BACKUP-FILE --data-dir NEW-DIR"
)
DAMAGED: Final = f"nothing was changed; to see all of it: kvraft verify {DATA_DIR}. {REPLACE}"


def located(error: Corrupt | ForeignData, data_dir: str) -> Corrupt | ForeignData:
    """The same error for this data directory."""
    if isinstance(error, Corrupt):
        advice = error.advice.replace(DATA_DIR, data_dir)
        return Corrupt(error.path, error.offset, error.reason, advice)
    return ForeignData(str(error).replace(DATA_DIR, data_dir))


def for_verifying(error: Corrupt) -> Corrupt:
    """The same error for somebody who is verifying already."""
    advice = error.advice.replace(DAMAGED, REPLACE)
    return Corrupt(error.path, error.offset, error.reason, advice)
