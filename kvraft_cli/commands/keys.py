"""The commands on single keys and directories.

Each makes one request after the synchronisation, which comes before any look at the arguments.
(etcdctl reference, sections 1.5 and 4.)
"""

from __future__ import annotations

from kvraft.limits import CTL_MAX_STDIN_BYTES
from kvraft_cli.answers import Answer, read_answer
from kvraft_cli.context import Context
from kvraft_cli.endpoints import encode_form
from kvraft_cli.errors import Failure, RequestError, command_failure, missing
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS
from kvraft_cli.flags import Flags
from kvraft_cli.http import FORM
from kvraft_cli.output import listed, rendered, unsupported
from kvraft_cli.session import Session

Pairs = list[tuple[str, str]]

PREFIX = "/v2/keys"
_UINT64 = (1 << 64) - 1


def get(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Print one value."""
    api = context.api
    answer = _read(api, _key(arguments), flags, recursive=False)
    if answer.node.dir:
        raise Failure(f"{answer.node.key}: is a directory\n", BAD_ARGUMENTS)
    return _print(context, answer)


def ls(context: Context, flags: Flags, arguments: list[str]) -> int:
    """List a directory."""
    api = context.api
    key = arguments[0] if arguments else "/"
    answer = _read(api, key, flags, recursive=flags.boolean("recursive"))
    context.stdout.writelines(f"{line}\n" for line in listed(answer.node, flags.boolean("p")))
    return SUCCESS


def set_(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Set a value, perhaps only if it is what is expected."""
    api = context.api
    key, value = _key(arguments), _value(context, arguments)
    query = _condition(flags, "swap-with-index", "swap-with-value")
    return _print(context, _write(api, "PUT", key, query, flags, value))


def mk(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a key that does not exist."""
    api = context.api
    key, value = _key(arguments), _value(context, arguments)
    if flags.boolean("in-order"):
        return _print(context, _write(api, "POST", key, [], flags, value))
    return _print(context, _write(api, "PUT", key, [("prevExist", "false")], flags, value))


def update(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Change a key that exists."""
    api = context.api
    key, value = _key(arguments), _value(context, arguments)
    return _print(context, _write(api, "PUT", key, [("prevExist", "true")], flags, value))


def mkdir(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a directory that does not exist."""
    return _directory(context, flags, arguments, [("prevExist", "false")])


def setdir(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Make a directory, in place of a file if there is one."""
    return _directory(context, flags, arguments, [])


def updatedir(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Set or clear the TTL of a directory."""
    return _directory(context, flags, arguments, [("prevExist", "true")])


def rm(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Remove a key or a directory."""
    api = context.api
    query: Pairs = [("dir", "true")] if flags.boolean("dir") else []
    query += _condition(flags, "with-index", "with-value")
    if flags.boolean("recursive"):
        query.append(("recursive", "true"))
    return _remove(context, api, _key(arguments), query)


def rmdir(context: Context, _flags: Flags, arguments: list[str]) -> int:
    """Remove a key or an empty directory."""
    api = context.api
    return _remove(context, api, _key(arguments), [("dir", "true")])


def _key(arguments: list[str]) -> str:
    if not arguments:
        raise missing("key")
    return arguments[0]


def _value(context: Context, arguments: list[str]) -> str:
    """The value, from the arguments or all of stdin; any bytes."""
    if len(arguments) > 1:
        return arguments[1]
    try:
        data = context.stdin.buffer.read(CTL_MAX_STDIN_BYTES + 1)
    except OSError:
        data = b""
    if not data:
        raise missing("value")
    if len(data) > CTL_MAX_STDIN_BYTES:
        raise Failure("Error:  the value on stdin is too large\n", BAD_ARGUMENTS)
    return data.decode("utf-8", "surrogateescape")


def _condition(flags: Flags, index_flag: str, value_flag: str) -> Pairs:
    query: Pairs = []
    if index := flags.number(index_flag):
        query.append(("prevIndex", str(index & _UINT64)))
    if value := flags.string(value_flag):
        query.append(("prevValue", value))
    return query


def _ttl(flags: Flags) -> Pairs:
    ttl = flags.number("ttl")
    return [("ttl", str(ttl))] if ttl > 0 else []


def _read(api: Session, key: str, flags: Flags, *, recursive: bool) -> Answer:
    query = [
        ("quorum", _truth(flags.boolean("quorum"))),
        ("recursive", _truth(recursive)),
        ("sorted", _truth(flags.boolean("sort"))),
    ]
    return _ask(api, "GET", key, query, None)


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _write(api: Session, method: str, key: str, query: Pairs, flags: Flags, value: str) -> Answer:
    return _ask(api, method, key, query, encode_form([*_ttl(flags), ("value", value)]))


def _directory(context: Context, flags: Flags, arguments: list[str], query: Pairs) -> int:
    api = context.api
    _ask(api, "PUT", _key(arguments), [("dir", "true"), *query], encode_form(_ttl(flags)))
    return SUCCESS


def _remove(context: Context, api: Session, key: str, query: Pairs) -> int:
    answer = _ask(api, "DELETE", key, query, None)
    return SUCCESS if answer.node.dir else _print(context, answer)


def _ask(api: Session, method: str, key: str, query: Pairs, form: str | None) -> Answer:
    try:
        reply = api.request(
            method,
            f"{PREFIX}/{key.removeprefix('/')}" if key else PREFIX,
            None if form is None else form.encode(),
            None if form is None else FORM,
            query=query,
        )
        return read_answer(reply.status, reply.headers.get("x-etcd-index", ""), reply.body)
    except RequestError as error:
        raise command_failure(error) from None


def _print(context: Context, answer: Answer) -> int:
    text = rendered(answer, context.output)
    if text is None:
        context.stderr.write(unsupported(context.output))
    else:
        context.stdout.write(text)
    return SUCCESS
