"""kvraft/server/config.py and options.py: what a user can write, and what comes of it."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence

import pytest

from kvraft.server import config, options
from kvraft.server.config import Exit, ServerConfig
from kvraft.server.logs import NOTICE
from kvraft.server.options import DEFAULT_CLIENT_URLS, DEFAULT_PEER_URLS
from kvraft.transport.tls import TlsFiles

HINT = " See 'etcd --help'."
MUST_ADVERTISE = (
    "-advertise-client-urls is required when -listen-client-urls is set explicitly." + HINT
)
MULTIPLE = (
    "multiple discovery or bootstrap flags are set. "
    'Choose one of "initial-cluster", "discovery" or "discovery-srv".' + HINT
)


def _good(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> ServerConfig:
    outcome = config.parse(argv, environ or {})
    assert isinstance(outcome, ServerConfig), outcome
    return outcome


def _bad(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Exit:
    outcome = config.parse(argv, environ or {})
    assert isinstance(outcome, Exit), outcome
    return outcome


def _texts(outcome: Exit | ServerConfig | None) -> list[str]:
    assert outcome is not None
    letters = {
        logging.CRITICAL: "C",
        logging.ERROR: "E",
        logging.WARNING: "W",
        NOTICE: "N",
        logging.INFO: "I",
    }
    return [f"{letters[line.level]} {line.package}: {line.text}" for line in outcome.lines]


def _no_lookup(host: str) -> str:
    raise AssertionError(f"looked up {host}")


def test_defaults() -> None:
    found = _good([])
    assert found.name == "default"
    assert found.data_dir == "default.etcd"
    assert found.wal_dir is None
    assert found.snapshot_count == 10000
    assert (found.heartbeat_ms, found.election_ms) == (100, 1000)
    assert (found.election_ticks, found.request_timeout_ms) == (10, 7000)
    assert found.listen_peer_urls == found.initial_advertise_peer_urls == DEFAULT_PEER_URLS
    assert found.listen_client_urls == found.advertise_client_urls == DEFAULT_CLIENT_URLS
    assert found.initial_cluster == {"default": DEFAULT_PEER_URLS}
    assert (found.initial_cluster_state, found.initial_cluster_token) == ("new", "etcd-cluster")
    assert (found.max_snapshots, found.max_wals) == (5, 5)
    assert (found.cors, found.host_whitelist) == ((), ())
    assert found.strict_reconfig_check
    assert (found.debug, found.log_level, found.log_package_levels) == (False, logging.INFO, ())
    assert config.check_new_cluster(found, _no_lookup) is None
    assert _texts(found) == [
        "W etcdmain: no data-dir provided, using default data-dir ./default.etcd"
    ]


def test_everything_given() -> None:
    found = _good(
        [
            *("--name", "a", "--data-dir", "/d", "--wal-dir", "/w", "--snapshot-count", "0x10"),
            *("--heartbeat-interval", "10", "--election-timeout", "55"),
            *("--listen-peer-urls", "http://b:1,http://a:1"),
            *("--initial-advertise-peer-urls", "http://c:1"),
            *("--listen-client-urls", "http://:2"),
            *("--advertise-client-urls", "https://outside:443"),
            *("--initial-cluster", "b=http://b:1,a=http://c:1,,b=http://a:9"),
            *("--initial-cluster-state", "existing", "--initial-cluster-token", "t"),
            *("--max-snapshots", "0", "--max-wals", "1", "--cors", "http://x, *"),
            *("--host-whitelist", "one.example,two.example"),
            *("--strict-reconfig-check=false", "--debug", "--enable-v2", "--enable-pprof=T"),
            *("--log-package-levels", "etcdserver=WARNING, raft=C"),
        ]
    )
    assert (found.name, found.data_dir, found.wal_dir) == ("a", "/d", "/w")
    assert (found.snapshot_count, found.heartbeat_ms, found.election_ms) == (16, 10, 55)
    assert found.election_ticks == 5
    assert found.listen_peer_urls == ("http://a:1", "http://b:1")
    assert found.initial_advertise_peer_urls == ("http://c:1",)
    assert found.listen_client_urls == ("http://:2",)
    assert found.advertise_client_urls == ("https://outside:443",)
    assert list(found.initial_cluster.items()) == [
        ("b", ("http://a:9", "http://b:1")),
        ("a", ("http://c:1",)),
    ]
    assert (found.initial_cluster_state, found.initial_cluster_token) == ("existing", "t")
    assert (found.max_snapshots, found.max_wals) == (0, 1)
    assert found.cors == ("http://x", "*")
    assert found.host_whitelist == ("one.example", "two.example")
    assert not found.strict_reconfig_check
    assert (found.debug, found.log_level) == (True, logging.DEBUG)
    assert found.log_package_levels == (
        ("etcdserver", logging.WARNING),
        ("raft", logging.CRITICAL),
    )
    assert found.lines == ()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["--quota-backend-bytes=1"], "flag provided but not defined: -quota-backend-bytes"),
        (["--name"], "flag needs an argument: -name"),
        (["---x"], "bad flag syntax: ---x"),
        (["--=x"], "bad flag syntax: --=x"),
        (
            ["--snapshot-count", "x"],
            'invalid value "x" for flag -snapshot-count: parse error',
        ),
        (["--max-wals", "-1"], 'invalid value "-1" for flag -max-wals: parse error'),
        (
            ["--heartbeat-interval="],
            'invalid value "" for flag -heartbeat-interval: parse error',
        ),
        (
            ["--force-new-cluster=maybe"],
            'invalid boolean value "maybe" for -force-new-cluster: parse error',
        ),
        (
            ["--initial-cluster-state", "foo"],
            'invalid value "foo" for flag -initial-cluster-state: invalid value',
        ),
        (["--proxy", "maybe"], 'invalid value "maybe" for flag -proxy: invalid value'),
        (
            ["--discovery-fallback", "x"],
            'invalid value "x" for flag -discovery-fallback: invalid value',
        ),
        (
            ["--listen-peer-urls", "ftp://1:1"],
            (
                'invalid value "ftp://1:1" for flag -listen-peer-urls: '
                "URL scheme must be http or https: ftp://1:1"
            ),
        ),
        (
            ["--listen-client-urls", "http://127.0.0.1"],
            (
                'invalid value "http://127.0.0.1" for flag -listen-client-urls: '
                'URL address does not have the form "host:port": http://127.0.0.1'
            ),
        ),
        (
            ["--listen-client-urls", "http://127.0.0.1:1/x"],
            (
                'invalid value "http://127.0.0.1:1/x" for flag -listen-client-urls: '
                "URL must not contain a path: http://127.0.0.1:1/x"
            ),
        ),
        (
            ["--listen-client-urls", "http://127.0.0.1:1/"],
            (
                'invalid value "http://127.0.0.1:1/" for flag -listen-client-urls: '
                "URL must not contain a path: http://127.0.0.1:1/"
            ),
        ),
        (
            ["--cors", "http://%zz"],
            (
                'invalid value "http://%zz" for flag -cors: '
                'Invalid CORS origin: parse "http://%zz": invalid URL escape "%zz"'
            ),
        ),
        (
            ["--peers", "x"],
            'invalid value "x" for flag -peers: flag "-peers" is no longer supported.',
        ),
        (
            ["--peers-file", "x"],
            'invalid value "x" for flag -peers-file: flag "-peers-file" is no longer supported.',
        ),
        (
            ["--addr", "foo:1"],
            'invalid value "foo:1" for flag -addr: bad IP in address specification',
        ),
        (
            ["--addr", "127.0.0.1"],
            'invalid value "127.0.0.1" for flag -addr: address 127.0.0.1: missing port in address',
        ),
    ],
)
def test_flags_that_cannot_be_read(argv: list[str], line: str) -> None:
    outcome = _bad(argv)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr == f"{line}\n{options.USAGE}"
    assert outcome.lines == ()


@pytest.mark.parametrize(
    ("argv", "reasons"),
    [
        (["foo", "--version"], ["'foo' is not a valid flag." + HINT]),
        (["--debug", "false"], ["'false' is not a valid flag." + HINT]),
        (["--initial-cluster", "a=b", "--discovery", "x"], [MULTIPLE]),
        (["--discovery-srv", "a", "--discovery", "x"], [MULTIPLE]),
        (["--listen-client-urls", "http://127.0.0.1:1"], [MUST_ADVERTISE]),
        (
            ["--election-timeout", "400"],
            [
                "-election-timeout[400ms] should be at least as 5 times as "
                "-heartbeat-interval[100ms]." + HINT
            ],
        ),
        (
            ["--election-timeout", "50001"],
            ["-election-timeout[50001ms] is too long, and should be set less than 50000ms." + HINT],
        ),
        (
            ["--addr", "127.0.0.1:1", "--listen-client-urls", "http://127.0.0.1:1"],
            ["Set only one of flags -listen-client-urls and -bind-addr." + HINT],
        ),
        (
            ["--heartbeat-interval", "0"],
            ["-heartbeat-interval[0ms] should be greater than 0ms." + HINT],
        ),
    ],
)
def test_settings_that_make_no_sense(argv: list[str], reasons: list[str]) -> None:
    outcome = _bad(argv)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (1, "", "")
    wanted = [f"E etcdmain: error verifying flags, {reason}" for reason in reasons]
    if reasons == [MUST_ADVERTISE]:
        wanted.append(
            "E etcdmain: When listening on specific address(es), this etcd process must "
            "advertise accessible url(s) to each connected client."
        )
    assert _texts(outcome) == wanted


def test_the_longest_election_timeout() -> None:
    assert _good(["--election-timeout", "50000"]).election_ms == 50000


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--experimental-v3demo"], "flag -experimental-v3demo is not supported"),
        (["--listen-peer-urls", "http://h:65536"], "listen tcp: address 65536: invalid port"),
        (["--initial-cluster", "a"], "error setting up initial cluster: URL scheme must be http"),
        (
            ["--initial-cluster", "a=foo"],
            "error setting up initial cluster: URL scheme must be http or https: foo",
        ),
    ],
)
def test_fatal_settings(argv: list[str], reason: str) -> None:
    outcome = _bad(argv)
    assert outcome.code == 1
    assert _texts(outcome)[-1].startswith(f"C etcdmain: {reason}")


def test_settings_that_are_off_when_nobody_asks() -> None:
    found = _good([])
    assert found.client_tls == found.peer_tls == TlsFiles()
    assert (found.discovery, found.discovery_proxy, found.discovery_srv) == ("", "", "")
    assert (found.proxy, found.discovery_fallback) == ("off", "proxy")
    assert found.proxy_failure_wait_ms == found.proxy_write_timeout_ms == 5000
    assert found.proxy_refresh_interval_ms == 30000
    assert (found.proxy_dial_timeout_ms, found.proxy_read_timeout_ms) == (1000, 0)
    assert not any((found.force_new_cluster, found.enable_pprof, found.check))
    assert (found.log_format, found.slow_request_ms) == ("text", 500)
    assert found.corrupt_check_interval_s == 600


def test_every_further_setting() -> None:
    found = _good(
        [
            *("--cert-file", "/c", "--key-file", "/k", "--trusted-ca-file", "/t"),
            *("--peer-cert-file", "/pc", "--peer-key-file", "/pk", "--peer-client-cert-auth"),
            *("--proxy", "readonly", "--proxy-failure-wait", "1"),
            *("--proxy-refresh-interval", "2", "--proxy-dial-timeout", "3"),
            *("--proxy-write-timeout", "4", "--proxy-read-timeout", "5"),
            *("--discovery", "https://d/x", "--discovery-fallback", "exit"),
            *("--discovery-proxy", "http://p:1", "--force-new-cluster", "--check"),
            *("--log-format", "json", "--slow-request-ms", "0"),
            *("--corrupt-check-interval", "9", "--enable-pprof"),
        ]
    )
    assert found.client_tls == TlsFiles("/c", "/k", False, "/t")
    assert found.peer_tls == TlsFiles("/pc", "/pk", True, "")
    assert (found.proxy, found.proxy_failure_wait_ms) == ("readonly", 1)
    assert (found.proxy_refresh_interval_ms, found.proxy_dial_timeout_ms) == (2, 3)
    assert (found.proxy_write_timeout_ms, found.proxy_read_timeout_ms) == (4, 5)
    assert (found.discovery, found.discovery_fallback) == ("https://d/x", "exit")
    assert found.discovery_proxy == "http://p:1"
    assert found.force_new_cluster
    assert found.check
    assert found.enable_pprof
    assert (found.log_format, found.slow_request_ms) == ("json", 0)
    assert found.corrupt_check_interval_s == 9


@pytest.mark.parametrize("flag", [["--discovery", "http://d:1/x"], ["--discovery-srv", "e.com"]])
def test_the_initial_cluster_is_found_by_others(flag: list[str]) -> None:
    assert _good([*flag, "--name", "a"]).initial_cluster == {}


@pytest.mark.parametrize("prefix", ["", "peer-"])
def test_the_old_flag_for_a_ca_asks_for_certificates_too(prefix: str) -> None:
    found = _good([f"--{prefix}ca-file", "/ca"])
    assert (found.peer_tls if prefix else found.client_tls) == TlsFiles("", "", True, "/ca")
    both = [f"--{prefix}ca-file", "/a", f"--{prefix}trusted-ca-file"]
    assert _good([*both, "/a"]).name == "default"
    *_earlier, line = _bad([*both, "/b"]).lines
    assert f"Set only one of flags -{prefix}trusted-ca-file and -{prefix}ca-file." in line.text


def test_environment() -> None:
    found = _good(["--name", "x"], {"ETCD_NAME": "y", "ETCD_DATA_DIR": "/d", "ETCD_FOO": "1"})
    assert (found.name, found.data_dir) == ("x", "/d")
    assert _texts(found) == [
        "I flags: recognized and used environment variable ETCD_DATA_DIR=/d",
        (
            "I flags: recognized environment variable ETCD_NAME, but unused: "
            "shadowed by corresponding flag "
        ),
        "W flags: unrecognized environment variable ETCD_FOO=1",
    ]


def test_bad_value_in_the_environment() -> None:
    outcome = _bad([], {"ETCD_SNAPSHOT_COUNT": "x"})
    assert (outcome.code, outcome.stderr) == (1, "")
    assert _texts(outcome) == [
        "I flags: recognized and used environment variable ETCD_SNAPSHOT_COUNT=x",
        'C etcdmain: invalid value "x" for ETCD_SNAPSHOT_COUNT: parse error',
    ]


def test_bootstrap_flags_from_both_places_conflict() -> None:
    outcome = _bad(["--initial-cluster", "a=http://a:1"], {"ETCD_DISCOVERY": "http://d:1"})
    assert _texts(outcome)[-1] == f"E etcdmain: error verifying flags, {MULTIPLE}"


def test_version_in_the_environment_does_nothing() -> None:
    assert _good([], {"ETCD_VERSION": "true"}).name == "default"


def test_check_in_the_environment_does_nothing() -> None:
    assert not _good([], {"ETCD_CHECK": "true"}).check


def test_a_refusal_keeps_the_form_of_the_log() -> None:
    assert _bad(["--log-format", "json", "--election-timeout", "1"]).log_format == "json"
    assert _bad(["--nope"]).log_format == "text"


@pytest.mark.parametrize("flag", options.new_flag_set().names())
def test_every_flag_has_its_variable(flag: str) -> None:
    variable = "ETCD_" + flag.upper().replace("-", "_")
    outcome = config.parse([], {variable: "0"})
    texts = [line.text for line in outcome.lines]
    assert f"recognized and used environment variable {variable}=0" in texts


@pytest.mark.parametrize("flag", options.new_flag_set().names())
def test_every_flag_is_in_the_help(flag: str) -> None:
    assert re.search(rf"(^|\s)--{flag}\b", options.help_text())


@pytest.mark.parametrize(
    ("argv", "listen", "advertise"),
    [
        (["--addr", "127.0.0.1:9"], "http://[::]:9", "http://127.0.0.1:9"),
        (
            ["--addr", "1.2.3.4:9", "--bind-addr", "0.0.0.0:8"],
            "http://0.0.0.0:8",
            "http://1.2.3.4:9",
        ),
        (
            ["--addr", "127.0.0.1:9", "--cert-file", "/c", "--key-file", "/k"],
            "https://[::]:9",
            "https://127.0.0.1:9",
        ),
    ],
)
def test_the_addresses_of_etcd_0_4(argv: list[str], listen: str, advertise: str) -> None:
    found = _good(argv)
    assert found.listen_client_urls == (listen,)
    assert found.advertise_client_urls == (advertise,)


@pytest.mark.parametrize("proxy", [["--proxy", "on"], ["--discovery", "http://d:1/x"]])
def test_proxies_need_not_advertise(proxy: list[str]) -> None:
    _good([*proxy, "--listen-client-urls", "http://127.0.0.1:1"])


def test_a_member_that_discovers_without_fallback_has_to_advertise() -> None:
    words = ["--discovery", "http://d:1/x", "--discovery-fallback", "exit"]
    outcome = _bad([*words, "--listen-client-urls", "http://127.0.0.1:1"])
    assert MUST_ADVERTISE in outcome.lines[-2].text


def test_version() -> None:
    outcome = _bad(["--version"], {"ETCD_SNAPSHOT_COUNT": "x"})
    assert (outcome.code, outcome.stderr, outcome.lines) == (0, "", ())
    lines = outcome.stdout.splitlines()
    assert lines[0] == "etcd Version: 2.3.8"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "kvraft Version",
        "Python Version",
        "OS/Arch",
    ]


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(word: str) -> None:
    outcome = _bad([word])
    assert (outcome.code, outcome.stderr, outcome.lines) == (0, "", ())
    assert outcome.stdout.startswith(options.USAGE + "\n")
    assert max(map(len, outcome.stdout.splitlines())) <= 100
    for name in ("--data-dir", "--host-whitelist", "--force-new-cluster", "--peer-ca-file"):
        assert re.search(rf"(^|\s){name}\b", outcome.stdout)


def test_the_examples_of_the_help_are_right() -> None:
    for example in re.findall(r"^ {6}kvraft((?:.*\\\n)*.*)", options.EXAMPLES, re.MULTILINE):
        found = _good(example.replace("\\\n", " ").split())
        assert config.check_new_cluster(found, _no_lookup) is None


def test_ignored_flags() -> None:
    found = _good(["-v", "-vv", "-snapshot", "--cluster-active-size=9", "--data-dir", "d"])
    assert _texts(found) == [
        f'W flags: flag "-{name}" is no longer supported - ignoring.'
        for name in ("v", "vv", "snapshot", "cluster-active-size")
    ]


def test_snapshot_count_0_is_the_default() -> None:
    found = _good(["--snapshot-count", "0", "--data-dir", "d"])
    assert found.snapshot_count == 10000
    assert _texts(found) == ["I etcdserver: set snapshot count to default 10000"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo", "oddly structured `pkg=level` option: foo"),
        ("raft=INFO,a=b=c", "oddly structured `pkg=level` option: a=b=c"),
        ("raft=LOUD", 'couldn\'t parse log level "LOUD"'),
    ],
)
def test_bad_log_levels_only_warn(text: str, reason: str) -> None:
    found = _good(["--log-package-levels", text, "--data-dir", "d"])
    assert found.log_package_levels == ()
    assert _texts(found) == [
        f"W etcdmain: couldn't parse log level string: {reason}, continuing with default levels"
    ]


def test_old_address_flags() -> None:
    found = _good(["--addr", "10.0.0.1:4001", "--peer-addr", "10.0.0.1:7001"])
    assert found.listen_client_urls == ("http://[::]:4001",)
    assert found.advertise_client_urls == ("http://10.0.0.1:4001",)
    assert found.listen_peer_urls == ("http://[::]:7001",)
    assert found.initial_advertise_peer_urls == ("http://10.0.0.1:7001",)
    found = _good(["--addr", "10.0.0.1:4001", "--bind-addr", "127.0.0.1:1"])
    assert found.listen_client_urls == ("http://127.0.0.1:1",)


def test_another_name_changes_the_default_cluster() -> None:
    found = _good(["--name", "x"])
    assert found.initial_cluster == {"x": DEFAULT_PEER_URLS}
    assert found.data_dir == "x.etcd"
    assert config.check_new_cluster(found, _no_lookup) is None


# --- checks before the first start ---


def test_own_name_must_be_in_the_cluster() -> None:
    found = _good(["--name", "foo", "--initial-cluster", "a=http://a:1"])
    wanted = [
        'C etcdmain: couldn\'t find local name "foo" in the initial cluster configuration',
    ]
    for outcome in (config.check_new_cluster(found, _no_lookup), config.check_joining(found)):
        assert outcome is not None
        assert outcome.code == 1
        assert _texts(outcome) == wanted


def test_own_urls_must_be_in_the_cluster() -> None:
    found = _good(["--initial-advertise-peer-urls", "http://127.0.0.1:32003"])
    assert _texts(config.check_new_cluster(found, lambda host: host)) == [
        (
            "I etcdmain: --initial-cluster must include default=http://127.0.0.1:32003 "
            "given --initial-advertise-peer-urls=http://127.0.0.1:32003"
        ),
        "I etcdmain: forgot to set --initial-cluster flag?",
    ]
    found = _good(["--initial-cluster", "default=http://127.0.0.1:1"])
    assert _texts(config.check_new_cluster(found, lambda host: host)) == [
        (
            "I etcdmain: --initial-cluster must include "
            "default=http://localhost:2380,default=http://localhost:7001 "
            "given --initial-advertise-peer-urls=http://localhost:2380,http://localhost:7001"
        ),
        "I etcdmain: forgot to set --initial-advertise-peer-urls flag?",
    ]
    assert config.check_joining(found) is None


def test_own_urls_may_be_other_names_of_the_same_place() -> None:
    found = _good(
        [
            *("--initial-advertise-peer-urls", "http://one:1"),
            *("--initial-cluster", "default=http://10.0.0.1:1"),
        ]
    )
    places = {"one": "10.0.0.1", "10.0.0.1": "10.0.0.1"}
    assert config.check_new_cluster(found, places.__getitem__) is None


def test_no_url_may_be_listed_twice() -> None:
    found = _good(
        [
            *("--initial-advertise-peer-urls", "http://a:1"),
            *("--initial-cluster", "default=http://a:1,b=http://a:1"),
        ]
    )
    wanted = [
        "C etcdmain: initial cluster b=http://a:1,default=http://a:1 has duplicate url",
    ]
    for outcome in (config.check_new_cluster(found, _no_lookup), config.check_joining(found)):
        assert _texts(outcome) == wanted


def test_a_report_has_lines_before_text() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    outcome = _bad(["-v", "--nope"])
    assert config.report(outcome, stdout, stderr) == 2
    assert stdout.getvalue() == ""
    first, rest = stderr.getvalue().split("\n", 1)
    assert first.endswith('W | flags: flag "-v" is no longer supported - ignoring.')
    assert rest == outcome.stderr


def test_describe() -> None:
    found = _good(["--name", "x", "--wal-dir", "/w"])
    texts = [line.text for line in config.describe(found, bootstrapping=True)]
    assert texts == [
        "name = x",
        "data dir = x.etcd",
        "member dir = x.etcd/member",
        "dedicated WAL dir = /w",
        "heartbeat = 100ms",
        "election = 1000ms",
        "snapshot count = 10000",
        "advertise client URLs = http://localhost:2379,http://localhost:4001",
        "initial advertise peer URLs = http://localhost:2380,http://localhost:7001",
        "initial cluster = x=http://localhost:2380,x=http://localhost:7001",
    ]
    assert [line.text for line in config.describe(found, bootstrapping=False)] == texts[:-2]
