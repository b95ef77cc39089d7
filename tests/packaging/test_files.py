"""The files for operators say what is so: settings exist, paths exist, metrics exist.

The programs these files are made for are not needed; where systemd is installed it is asked, too.
"""

from __future__ import annotations

import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from kvraft.discovery import settings as discovery_settings
from kvraft.server import options
from kvraft.server.config import ServerConfig, parse

ROOT: Final = Path(__file__).parents[2]
PACKAGING: Final = ROOT / "packaging"
UNITS: Final = sorted(PACKAGING.glob("systemd/*.service"))
DOCKERFILE: Final = PACKAGING / "docker" / "Dockerfile"
METRIC_SOURCES: Final = ("kvraft/server/exposition.py", "kvraft/proxy/metrics.py")
METRIC: Final = re.compile(r"\b(?:etcd|kvraft|process|python)_[a-z_]+\b")
SUFFIXES: Final = re.compile(r"_(?:bucket|sum|count|total|created|info)$")
VARIABLE: Final = re.compile(r"\b(ETCD_[A-Z_]+)\b")


def directives(unit: Path) -> list[tuple[str, str]]:
    """The settings of a unit, in order; a name may come several times."""
    lines = unit.read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#["]
    return [(name, value) for name, _, value in pairs]


def accepted(environ: Mapping[str, str]) -> ServerConfig:
    """The settings that these variables stand for; fails if they are refused."""
    config = parse([], environ)
    assert isinstance(config, ServerConfig), config
    unknown = [line.text for line in config.lines if "unrecognized" in line.text]
    assert not unknown
    return config


# --- systemd ---------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_restricted(unit: Path) -> None:
    settings = directives(unit)
    for expected in (
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("CapabilityBoundingSet", ""),
        ("UMask", "0077"),
        ("StateDirectoryMode", "0700"),
        ("User", "kvraft"),
    ):
        assert expected in settings
    assert any(name == "LimitNOFILE" for name, _ in settings)


def test_the_member_reports_to_systemd() -> None:
    settings = dict(directives(PACKAGING / "systemd" / "kvraft.service"))
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) > 0
    assert "AF_UNIX" in settings["RestrictAddressFamilies"].split()
    assert settings["Environment"] == f"ETCD_DATA_DIR=/var/lib/{settings['StateDirectory']}"


def test_the_programs_of_the_units_exist() -> None:
    scripts = re.findall(r"^    (\S+) = kvraft\S*:main$", (ROOT / "setup.cfg").read_text(), re.M)
    programs = [Path(dict(directives(unit))["ExecStart"].split()[0]).name for unit in UNITS]
    assert set(programs) <= set(scripts)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path) -> None:
    # It insists on programs that exist.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    file = tmp_path / unit.name
    file.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout


def env_file(*, tls: bool = False, proxy: bool = False) -> dict[str, str]:
    """The variables of kvraft.env, with the sections that are commented out where asked for."""
    text = (PACKAGING / "systemd" / "kvraft.env").read_text()
    before, _, rest = text.partition("# --- with TLS")
    tls_part, _, proxy_part = rest.partition("# --- a proxy")
    if tls:
        before = before.replace("http://", "https://") + tls_part.replace("#ETCD", "ETCD")
    if proxy:
        before += proxy_part.replace("#ETCD", "ETCD")
    pairs = (line.partition("=") for line in before.splitlines() if line.startswith("ETCD_"))
    return {name: value for name, _, value in pairs}


def test_the_settings_file_of_the_unit() -> None:
    config = accepted(env_file())
    assert config.name in config.initial_cluster
    assert config.initial_cluster[config.name] == config.initial_advertise_peer_urls
    config = accepted(env_file(tls=True))
    assert config.client_tls.client_cert_auth
    assert config.peer_tls.client_cert_auth
    assert accepted(env_file(proxy=True)).proxy == "on"


def test_the_variables_of_the_discovery_unit() -> None:
    unit = (PACKAGING / "systemd" / "kvraft-discovery.service").read_text()
    source = Path(discovery_settings.__file__).read_text()
    names = set(re.findall(r"\bDISC_([A-Z_]+)", unit))
    assert {"EMBEDDED", "HOST", "ADDR"} <= names
    for name in names:
        assert f'"{name.lower().replace("_", "-")}"' in source


# --- image -----------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line]


def test_dockerfile() -> None:
    known = "FROM WORKDIR RUN COPY ENV USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT"
    steps = instructions()
    assert {name for name, _ in steps} <= set(known.split())
    users = [number for number, (name, _) in enumerate(steps) if name == "USER"]
    entry = next(number for number, (name, _) in enumerate(steps) if name == "ENTRYPOINT")
    assert users
    assert users[-1] < entry
    assert steps[users[-1]][1] != "root"
    allowed = set(re.findall(r"^!(\S+)", DOCKERFILE.with_suffix(".dockerignore").read_text(), re.M))
    for name, value in steps:
        if name == "COPY" and not value.startswith("--from"):
            for source in value.split()[:-1]:
                path = source.removeprefix("./")
                assert (ROOT / path).exists()
                assert path in allowed, f"{path} is not part of the build context"


def test_the_image_starts_with_its_own_settings() -> None:
    text = " ".join(value for name, value in instructions() if name == "ENV")
    environ = dict(word.split("=", 1) for word in text.split() if word.startswith("ETCD_"))
    assert environ["ETCD_DATA_DIR"] == "/var/lib/kvraft"
    accepted(environ)


def test_compose_names_settings_that_exist() -> None:
    text = (PACKAGING / "docker" / "compose.yml").read_text()
    known = {f"ETCD_{name}" for name in variables()}
    used = set(VARIABLE.findall(text))
    assert used
    assert used <= known
    cluster = re.search(r"ETCD_INITIAL_CLUSTER: (\S+)", text)
    assert cluster is not None
    for entry in cluster[1].split(","):
        name, _, url = entry.partition("=")
        assert f"ETCD_NAME: {name}\n" in text
        assert f"ETCD_INITIAL_ADVERTISE_PEER_URLS: {url}\n" in text


def variables() -> set[str]:
    return {name.upper().replace("-", "_") for name in options.new_flag_set()._flags}


@pytest.fixture
def healthcheck() -> ModuleType:
    path = PACKAGING / "docker" / "healthcheck.py"
    spec = importlib.util.spec_from_file_location("healthcheck", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://localhost:2379/health"),
        ({"ETCD_LISTEN_CLIENT_URLS": "http://0.0.0.0:2379"}, "http://127.0.0.1:2379/health"),
        ({"ETCD_LISTEN_CLIENT_URLS": "https://[::]:1,http://b:2"}, "https://127.0.0.1:1/health"),
        ({"ETCD_LISTEN_CLIENT_URLS": "http://:1"}, "http://127.0.0.1:1/health"),
        ({"ETCD_LISTEN_CLIENT_URLS": "x", "HEALTHCHECK_URL": "http://a:1/"}, "http://a:1/health"),
    ],
)
def test_where_the_health_check_asks(
    healthcheck: ModuleType, environ: dict[str, str], url: str
) -> None:
    assert healthcheck.url_of(environ) == url


class Health(http.server.BaseHTTPRequestHandler):
    """Answers with the status and body that the server was given."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        return


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((200, b'{"health": "true"}'), 0),
        ((503, b'{"health": "false"}\n'), 1),
        ((200, b'{"health": "false"}'), 1),
        ((200, b"<html>"), 1),
        ((200, b"[]"), 1),
    ],
)
def test_what_the_health_check_says(
    healthcheck: ModuleType,
    answer: tuple[int, bytes],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        server.answer = answer  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HEALTHCHECK_URL", f"http://127.0.0.1:{server.server_port}")
        assert healthcheck.main() == status
        server.shutdown()
        thread.join()


def test_nobody_answers_the_health_check(
    healthcheck: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTHCHECK_URL", "http://127.0.0.1:1")
    assert healthcheck.main() == 1


# --- monitoring ------------------------------------------------------------------------


def shown_metrics() -> set[str]:
    """The metrics of members and proxies, without the endings that depend on their kind."""
    names: set[str] = set()
    for source in METRIC_SOURCES:
        text = (ROOT / source).read_text()
        names |= set(METRIC.findall(text))
        names |= set(re.findall(r'InfoMetricFamily\("(\w+)"', text))
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    names |= {family.name for family in registry.collect()}
    return {SUFFIXES.sub("", name) for name in names}


def dashboard() -> dict[str, Any]:
    document = json.loads((PACKAGING / "grafana" / "kvraft.json").read_text())
    assert isinstance(document, dict)
    return document


def expressions() -> Iterator[tuple[str, str]]:
    """What the dashboard and the alerts ask Prometheus, with the name of who asks."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]
    yield from alerts().items()


def alerts() -> dict[str, str]:
    text = (PACKAGING / "prometheus" / "alerts.yml").read_text()
    found = re.findall(r"- alert: (\w+)\n\s+expr: (.+)\n", text)
    assert len(found) == text.count("- alert:")
    return dict(found)


def test_every_metric_that_is_asked_for_exists() -> None:
    known = shown_metrics()
    assert "kvraft_has_leader" in known
    assert "etcd_proxy_handled" in known
    wrong = [
        f"{who}: {name}"
        for who, expression in expressions()
        for name in METRIC.findall(expression)
        if SUFFIXES.sub("", name) not in known
    ]
    assert not wrong


def test_expressions_are_whole() -> None:
    seen = list(expressions())
    assert len(seen) > 40
    for who, expression in seen:
        for left, right in ("()", "{}", "[]"):
            assert expression.count(left) == expression.count(right), who
        assert METRIC.search(expression) or expression.startswith("up{"), who


def test_the_dashboard_is_laid_out_without_overlaps() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_say_how_urgent_they_are() -> None:
    text = (PACKAGING / "prometheus" / "alerts.yml").read_text()
    rules = text.split("- alert: ")[1:]
    for rule in rules:
        assert re.search(r"labels: \{severity: (page|ticket)\}", rule), rule
        assert "summary: " in rule, rule
