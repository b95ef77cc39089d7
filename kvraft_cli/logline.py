"""Lines of progress and failure on stderr, time stamped as the original's log is.

Only `backup` and `import` speak so. Source: etcdctl.md, section 9.
"""

from __future__ import annotations

import os
import time


def stamped(text: str, unix_s: float | None = None) -> str:
    """One line, in local time; the moment is now unless it is given."""
    moment = time.time() if unix_s is None else unix_s
    second = int(moment)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
    return f"{clock}.{int((moment - second) * 1_000_000):06} I | {text}\n"


def reason(error: OSError) -> str:
    """Why a call to the system failed, in its words but without a capital letter."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]
