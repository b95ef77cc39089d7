"""What is asked of both servers: every command of etcdctl, its options, formats and refusals.

Braces stand for what is each server's own: `{idx+2}` an index counted from the start, `{id:m1}` the
id of a member, `{tmp}` a scratch directory, `{closed}` a port on which nobody listens, `{url}` the
first member's client URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Run(NamedTuple):
    """One command line, run to its end."""

    line: str
    typed: str = ""
    environment: Mapping[str, str] = {}
    unordered: bool = False  # its lines come in no particular order


class Watch(NamedTuple):
    """A command line that is left running under a name."""

    name: str
    line: str


class Join(NamedTuple):
    """Wait for one of them to end; `interrupted`: by SIGINT, once it has `lines` lines."""

    name: str
    interrupted: bool = False
    lines: int = 0
    unordered: bool = False


class Stop(NamedTuple):
    """Kill a member, the last one of those that run."""


class Learn(NamedTuple):
    """Note the ids of the members as they are now."""


class Fill(NamedTuple):
    """Set a key so many times, without a command line for each."""

    key: str
    times: int


class Wait(NamedTuple):
    """Let time pass."""

    seconds: float


# A real etcd takes no new members before its peers have been connected for five seconds.
CONNECTED_S: Final = 5.5

Step = Run | Watch | Join | Stop | Fill | Wait | Learn


class Script(NamedTuple):
    """Steps on fresh clusters."""

    name: str
    members: int
    steps: tuple[Step, ...]


def runs(text: str) -> list[Step]:
    """A line each."""
    return [Run(line) for line in text.strip().splitlines()]


ROOT: Final = "-u root:rootpw "

READING_AND_WRITING: Final = """
ls
ls --sort /
get /nothing
set /a/k hello
get /a/k
get --quorum /a/k
get a/k
get //a/./k
get /a/../a/k
get /a
get /
get --sort /a
get /a/k/below
get /a/nothing/below
set /a/k again
set /a/k again --swap-with-value again
set /a/k other --swap-with-value wrong
set /a/k other --swap-with-index {idx+900}
set /a/k other --swap-with-index {idx+3}
set /a/k other --swap-with-value wrong --swap-with-index {idx+900}
set /a/none v --swap-with-value x
set /a/none v --swap-with-index 5
set /a v
set /a/k/below v
set / v
set '' v
set /ttl v --ttl 500
update /ttl w
set /ttl v --ttl 500
update /ttl w --ttl 800
update /none v
update /a v
update /a/k updated
update / v
mk /m/k 1
mk /m/k 2
mk /m 2
mk / 2
mk /m/k/below 2
mk /m/t v --ttl 500
mk --in-order /q one
mk --in-order /q two
mk --in-order /q three --ttl 500
mk --in-order /m/k x
ls --sort /q
mkdir /d
mkdir /d
mkdir /d/e/f
mkdir /a/k
mkdir /a/k/below
mkdir /dt --ttl 500
mkdir /
setdir /sd
setdir /sd
setdir /sdt --ttl 500
set /becomes file
setdir /becomes
ls -p --sort /
updatedir /dt --ttl 900
updatedir /dt
updatedir /none
set /file v
updatedir /file
get /file
ls --sort --recursive /
ls --sort --recursive -p /
ls --sort -p /a
ls /file
ls -p /file
ls /none
ls /sd
ls --quorum --sort /m
set /_hidden/k v
ls --sort /
ls /_hidden
get /_hidden/k
rm /_hidden/k
rm /a/k --with-value wrong
rm /a/k --with-index {idx+900}
rm /a/k --with-value wrong --with-index {idx+900}
rm /a/k --with-value updated
rm /a/k
rm /a
rm --dir /a
set /a/b/c v
rm --dir /a
rmdir /a
rm --recursive /a
rm --recursive /a
rm /m/k
rm --dir /m/t
rmdir /file
rmdir /none
rmdir /d
rmdir /d/e/f
rm --recursive --dir /q
rm /
rm --recursive /
rmdir /
set '/with space/and+plus' 'a b+c&d=e'
get '/with space/and+plus'
ls --sort '/with space'
set /ümlaut 'wörth <&> "quoted" \\back'
get /ümlaut
set '/odd?name#x%20' v
get '/odd?name#x%20'
ls --sort
set /empty ''
get /empty
rm /empty
get
set
set /only
mk
mk /only
update /only
mkdir
rm
rmdir
setdir
updatedir
watch
exec-watch
exec-watch /only
"""

FORMATS: Final = """
-o json set /f/k v1
-o extended set /f/k v2
-o simple set /f/k v3
-o json get /f/k
-o extended get /f/k
-o json update /f/k v4 --ttl 500
-o extended update /f/k v5 --ttl 500
-o extended get /f/k
-o json get /f/k
-o json mk --in-order /f/q v
-o extended mk --in-order /f/q v
-o json set /f/html '<&> é'
-o extended rm /f/k
set /f/k v
-o json rm /f/k
set /f/k v
-o json rm /f/k --with-value v
set /f/k v
-o extended rm /f/k --with-index {idx+11}
-o extended set /f/k swapped --swap-with-value v
-o json set /f/k again --swap-with-value swapped
-o bogus get /f/k
-o bogus set /f/k after
get /f/k
-o json get /f/none
-o extended get /f/none
-o json get /f
-o json setdir /f/sd
-o extended updatedir /f/sd --ttl 500
-output json get /f/k
--o=json get /f/k
-o json rm --recursive /f
"""

GLOBAL: Final = """
--no-sync get /none
--debug set /g/k 'a b&c'
--debug --no-sync get /g/k
--debug --no-sync ls /g
--debug --no-sync mk /g/new v --ttl 5
--debug --no-sync mk --in-order /g/q v
--debug --no-sync update /g/k v
--debug --no-sync mkdir /g/d --ttl 7
--debug --no-sync rm /g/k
--debug --no-sync rmdir /g/d
--debug --no-sync set /g/k v --swap-with-value none
--debug member list
--debug --no-sync cluster-health
--debug --no-sync user list
--debug --no-sync role list
--endpoints http://127.0.0.1:{closed} get /k
--endpoints http://127.0.0.1:{closed},{url} get /none
--no-sync --endpoints http://127.0.0.1:{closed} get /k
--no-sync --endpoints http://127.0.0.1:{closed} member list
--no-sync --endpoints http://127.0.0.1:{closed} user list
--endpoints http://127.0.0.1:{closed} cluster-health
--endpoint {url} --endpoints '' get /none
--endpoints ftp://127.0.0.1:1 get /k
--endpoints {url}/prefix get /k
--total-timeout 0 get /k
--total-timeout 300ms get /none
--timeout 0 get /none
--cert-file c get /k
--ca-file none get /k
"""

MEMBERS: Final = """
member list x
member add
member add x
member add x 127.0.0.1:1
member add x ftp://127.0.0.1:1
member add x http://127.0.0.1
member add x http://127.0.0.1:1/path
member add x 'http://127.0.0.1:1,http://127.0.0.1:2'
member remove
member remove zz
member remove 12345
member update
member update x
member update zz http://127.0.0.1:{closed}
member update 12345 http://127.0.0.1:{closed}
member update zz nonsense
-o json member list
"""

ACCESS: Final = """
user list
role list
user get al
user remove al
user grant al --roles r1
user revoke al --roles r1
user add al:secret
user get al
user list
user grant al
user grant al --roles
user grant --roles r1
user get
user get a b
user list x
user add
user add a b
user remove
user passwd
user add al2:
role add r1
role add r1
role add r2
role get r1
role get nope
role get
role list x
role list
role add
role remove
role remove nope
role remove root
role grant r1
role grant r1 --path /a
role grant r1 --path /a --read --write
role grant r1 --path a --read
role grant r1 --path /a//b --read
role grant --path /a --read
role grant r1 --path /a --read
role grant r1 --path /a --read
role grant r1 --path /b/* --readwrite
role grant r1 --path /b/* --write
role grant r1 --path /c --write
role get r1
role revoke r1 --path /c --write
role revoke r1 --path /c --write
role revoke r1 --path /b/* --readwrite
role get r1
role grant nope --path /a --read
role grant root --path /x --read
role get root
user grant al --roles r1
user grant al --roles r1
user grant al --roles r2 --roles nope
user list
user revoke al --roles nope
user get al
user revoke al --roles nope
user add bo:pw
user grant bo --roles r1,r2
user get bo
user remove bo
user remove bo
auth enable x
auth disable
auth enable
user add root:rootpw
user get root
auth enable
auth enable
{root}auth enable
{root}role get guest
{root}role list
set /open v
{root}role revoke guest --path '/*' --readwrite
get /open
set /open w
ls
rm /open
mkdir /d
watch /open
{root}get /open
-u root:wrong get /open
-u nobody:pw get /open
-u al:secret get /a
{root}set /a readable
-u al:secret get /a
-u al:secret set /a no
-u al:secret ls /
-u al:secret user list
-u al:secret user get al
-u al:secret user remove al
-u al:secret role list
-u al:secret role get r1
-u al:secret role add r9
-u al:secret auth disable
-u al:secret member add x http://127.0.0.1:{closed}
-u al:secret member remove {id:m1}
-u al:secret member update {id:m1} http://127.0.0.1:{closed}
member list
cluster-health
{root}role grant r2 --path '/mine/*' --readwrite
-u al:secret set /mine/k v
-u al:secret ls /mine
-u al:secret ls /mine/
-u al:secret ls --recursive /mine/
-u al:secret get /mine/k
-u al:secret rm /mine/k
{root}user remove root
{root}user passwd nobody
{root}role remove guest
get /open
{root}auth disable
{root}auth disable
get /open
user remove al
role remove r1
role remove r2
"""

WATCHING: Final[tuple[Step, ...]] = (
    Run("set /w/k v0"),
    Run("watch --after-index {idx+0} /w/k"),
    Run("-o extended watch --after-index {idx+0} /w/k"),
    Run("-o json watch --after-index {idx+0} --recursive /w"),
    Run("watch --recursive --after-index {idx+0} /"),
    Watch("one", "watch /w/k"),
    Run("set /w/k v1"),
    Join("one"),
    Watch("extended", "-o extended watch --recursive /w"),
    Run("set /w/deep/er v2"),
    Join("extended"),
    Watch("json", "-o json watch /w/k"),
    Run("rm /w/k"),
    Join("json"),
    Watch("forever", "watch --forever --recursive /w"),
    Run("mk /w/k 1"),
    Run("update /w/k 2"),
    Run("set /w/k 3 --swap-with-value 2"),
    Run("mkdir /w/dir"),
    Run("rm /w/k --with-value 3"),
    Run("set /w/k 4"),
    Run("rm /w/k"),
    Run("mk --in-order /w/q 5"),
    Run("rm --recursive /w/dir"),
    Run("set /w/last 6"),
    Join("forever", interrupted=True, lines=16),
    Watch("quiet", "watch --forever /w/quiet"),
    Join("quiet", interrupted=True),
    Run("set /w/short v --ttl 2"),
    Watch("expiry", "watch --recursive /w/short"),
    Join("expiry"),
    Run("set /w/short v --ttl 2"),
    Watch("extended expiry", "-o extended watch /w/short"),
    Join("extended expiry"),
    Watch(
        "exec",
        "exec-watch --recursive /x -- sh -c"
        " 'echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE $ETCD_WATCH_MODIFIED_INDEX"
        " >> {tmp}/executed; wc -l < {tmp}/executed'",
    ),
    Run("set /x/a hello"),
    Join("exec", interrupted=True, lines=1),
    Watch("bad", "exec-watch --recursive /x -- /no/such/program"),
    Run("set /x/a again"),
    Join("bad"),
    Run("exec-watch --after-index {idx+0} --recursive /w -- /no/such/program"),
)

OUTDATED: Final[tuple[Step, ...]] = (
    Fill("/many", 1001),  # one more than a server remembers
    Run("watch --after-index {idx+1} --recursive /"),
    Run("-o json watch --after-index {idx+1} /w/k"),
    Run("exec-watch --after-index {idx+1} --recursive / -- /bin/true"),
)

ASKING: Final[tuple[Step, ...]] = (
    Run("set /piped", typed="from stdin\n"),
    Run("get /piped"),
    Run("set /piped", typed=""),
    Run("mk /piped2", typed="no line end"),
    Run("update /piped", typed="two\nlines\n"),
    Run("get /piped"),
    Run("user add al", typed="secret\n"),
    Run("user add em", typed="\n"),
    Run("user passwd al", typed="other\n"),
    Run("user passwd al", typed="\n"),
    Run("user get al"),
    Run("user add root:rootpw"),
    Run("auth enable"),
    Run("-u root user list", typed="rootpw\n"),
    Run("-u root user list", typed="wrong\n"),
    Run("-u al get /piped", typed="other\n"),
    Run("-u al:secret get /piped"),
    Run("-u root:rootpw auth disable"),
    Run("get /none", environment={"ETCDCTL_ENDPOINTS": "", "ETCDCTL_PEERS": "{url}"}),
    Run("get /none", environment={"ETCDCTL_ENDPOINTS": "", "ETCDCTL_ENDPOINT": "{url}"}),
    Run("get /none", environment={"ETCDCTL_OUTPUT": "json"}),
)

THREE: Final[tuple[Step, ...]] = (
    Learn(),
    Run("member list", unordered=True),
    Run("-o json member list", unordered=True),
    Run("cluster-health", unordered=True),
    *runs(MEMBERS.replace("-o json member list\n", "")),
    Run("member remove m2"),
    Wait(CONNECTED_S),
    Run("member add m4 http://127.0.0.1:{closed}"),
    Learn(),
    Run("member list", unordered=True),
    Run("member add m5 http://127.0.0.1:{closed}"),
    Run("cluster-health", unordered=True),
    Run("set /still works"),
    Run("member update {id:new} http://localhost:{closed}"),
    Run("member list", unordered=True),
    Run("member remove {id:new}"),
    Run("member remove {id:new}"),
    Run("member list", unordered=True),
    Run("set /three v"),
    Run("get --quorum /three"),
    Stop(),
    Run("set /three w"),
    Run("get --quorum /three"),
    Run("cluster-health", unordered=True),
    Run("member list", unordered=True),
    Stop(),
    Run("get /three"),
    Run("--timeout 500ms --total-timeout 5s set /three x", unordered=True),
    Run("--timeout 500ms --total-timeout 5s get --quorum /three", unordered=True),
    Run("--total-timeout 500ms set /three x"),
    Run("cluster-health", unordered=True),
    Run("--total-timeout 2s member list", unordered=True),
)

SCRIPTS: Final = (
    Script("keys", 1, tuple(runs(READING_AND_WRITING))),
    Script("formats", 1, tuple(runs(FORMATS))),
    Script("global", 1, tuple(runs(GLOBAL))),
    Script("watching", 1, (*WATCHING, *OUTDATED)),
    Script("access", 1, (Learn(), *runs(ACCESS.replace("{root}", ROOT)))),
    Script("asking", 1, ASKING),
    Script("three", 3, THREE),
)
