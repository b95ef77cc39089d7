"""The arithmetic of key paths: values in, values out.

A clean path is `/`, or a slash and a name for each component, where a name is any non-empty
byte string without a slash, other than `.` and `..`. Names are compared bytewise and may hold
anything else, NUL and invalid UTF-8 included (keys API, sections 1 and 9).

Must not know: nodes, indices, percent-encoding. Invariant: clean(clean(p)) == clean(p).
"""

from __future__ import annotations

__all__ = ["clean", "depth", "hidden_child", "is_below"]


def clean(path: bytes) -> bytes:
    """Give the one spelling of a path: rooted, without empty, `.` and `..` components."""
    if (
        path[:1] == b"/"
        and path[-1:] != b"/"
        and b"//" not in path
        and b"/."
        not in path  # also met by harmless names such as `.git`: the long way is right too
    ):
        return path
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            if names:
                names.pop()
        elif name and name != b".":
            names.append(name)
    return b"/" + b"/".join(names)


def depth(path: bytes) -> int:
    """How many components a clean path has; the root has none."""
    return 0 if path == b"/" else path.count(b"/")


def is_below(path: bytes, ancestor: bytes) -> bool:
    """Whether a clean path lies strictly below another one."""
    if ancestor == b"/":
        return path != b"/"
    return path.startswith(ancestor) and path[len(ancestor) : len(ancestor) + 1] == b"/"


def hidden_child(path: bytes, ancestor: bytes) -> bool:
    """Whether the component of `path` right below `ancestor` starts with an underscore."""
    start = 0 if ancestor == b"/" else len(ancestor)
    return path[start : start + 2] == b"/_"
