"""How a command fails: what it prints, its exit code, and what a request may run into.

    Failure             ends the command: the complete text for stderr, and the code
    +-- ConfigError     flags, variables or files from which no client can be made
    RequestError        what a request ran into; `text` is the bare reason
    +-- ServerRefused   the server's own error object
    +-- BadAnswer       the answer is not what an etcd server says
    +-- NoEndpoints     there is nobody to ask
    +-- DeadlineExceeded    --total-timeout has passed
    +-- ClusterUnavailable  nobody answered; `detail` lists the attempts
    +-- TransportError  one attempt at one endpoint failed

A command turns a `RequestError` into a `Failure` in the style of its group: `command_failure` for
the key commands, `bare_failure` for member, user, role and auth.
"""

from __future__ import annotations

from kvraft_cli.exitcodes import BAD_ARGUMENTS, SERVER_ERROR

INVALID_JSON = (
    "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint."
)
EMPTY_BODY = "client: response body is empty"


class RequestError(Exception):
    """A request did not get the answer that was asked for."""

    @property
    def text(self) -> str:
        """The bare reason, one line without its end."""
        return str(self)

    @property
    def detail(self) -> str:
        """All that is known."""
        return self.text


class ServerRefused(RequestError):
    """The server answered with an error object."""

    def __init__(self, code: int, message: str, cause: str, index: int) -> None:
        super().__init__(f"{code}: {message} ({cause}) [{index}]")
        self.code = code


class BadAnswer(RequestError):
    """The answer cannot be understood."""


class NoEndpoints(RequestError):
    """The cluster publishes no client URL."""

    def __init__(self) -> None:
        super().__init__("client: no endpoints available")


class DeadlineExceeded(RequestError):
    """The time for the whole command is over."""

    def __init__(self) -> None:
        super().__init__("context deadline exceeded")


class TransportError(RequestError):
    """One attempt failed. `dialing`: no connection came about, so nothing was sent."""

    def __init__(self, text: str, *, dialing: bool = False) -> None:
        super().__init__(text)
        self.dialing = dialing


class HeaderTimeout(TransportError):
    """No answer began within --timeout; who knows the endpoint puts its URL into the text."""


class ClusterUnavailable(RequestError):
    """Every endpoint failed."""

    def __init__(self, attempts: list[TransportError]) -> None:
        super().__init__("client: etcd cluster is unavailable or misconfigured")
        self.attempts = attempts

    @property
    def detail(self) -> str:
        """The reason, then a line for each attempt and an empty one (less its end)."""
        lines = [f"error #{number}: {error.text}\n" for number, error in enumerate(self.attempts)]
        return self.text + "\n" + "".join(lines)

    @property
    def nobody_there(self) -> bool:
        """Whether no endpoint even accepted a connection."""
        return all(error.dialing for error in self.attempts)


class Failure(Exception):
    """The command ends here. `text` goes to stderr as it is; `reason` helps to find a hint."""

    def __init__(self, text: str, code: int, reason: RequestError | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.reason = reason


class ConfigError(Failure):
    """No client can be made of what was given; `message` is the bare text."""

    def __init__(self, message: str) -> None:
        super().__init__(message + "\n", BAD_ARGUMENTS)
        self.message = message


def command_failure(error: RequestError, code: int = SERVER_ERROR) -> Failure:
    """`Error:` and two spaces, as key commands, watches and the synchronisation end."""
    return Failure(f"Error:  {error.detail}\n", code, error)


def bare_failure(error: RequestError, code: int = BAD_ARGUMENTS) -> Failure:
    """The bare text, as member, user, role and auth end."""
    return Failure(error.text + "\n", code, error)


def missing(what: str) -> Failure:
    """A required argument is not there."""
    return Failure(f"Error:  {what} required\n", BAD_ARGUMENTS)
