"""The figures of a member: what is counted and warned of, and the names under which it is shown."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

import pytest

from kvraft.api.figures import GET, PUT, HttpFigures
from kvraft.clock import ManualClock
from kvraft.raft.message import Append, InstallSnapshot
from kvraft.server.delays import Cause
from kvraft.server.exposition import message_name
from kvraft.server.frames import FRAME_NUMBERS
from kvraft.server.metrics import Metrics, Probe, SnapshotTimer
from tests.server.inprocess import Running, running, until
from tests.server.test_delays import longest

MS = 10**6
DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
SERVER_BOUNDS: Final = [0.001 * 2**power for power in range(14)]
HTTP_BOUNDS: Final = [0.0005 * 2**power for power in range(13)]
SENT: Final = ("msgType", "remoteID", "sendingType")

ETCD: Final[dict[str, tuple[str, tuple[str, ...], list[float]]]] = {
    "etcd_server_proposal_durations_seconds": ("histogram", (), SERVER_BOUNDS),
    "etcd_server_pending_proposal_total": ("gauge", (), []),
    "etcd_server_proposal_failed_total": ("counter", (), []),
    "etcd_server_file_descriptors_used_total": ("gauge", (), []),
    "etcd_wal_fsync_durations_seconds": ("histogram", (), SERVER_BOUNDS),
    "etcd_wal_last_index_saved": ("gauge", (), []),
    "etcd_snapshot_save_total_durations_seconds": ("histogram", (), SERVER_BOUNDS),
    "etcd_snapshot_save_marshalling_durations_seconds": ("histogram", (), SERVER_BOUNDS),
    "etcd_http_received_total": ("counter", ("method",), []),
    "etcd_http_failed_total": ("counter", ("code", "method"), []),
    "etcd_http_successful_duration_second": ("histogram", ("method",), HTTP_BOUNDS),
    "etcd_rafthttp_message_sent_latency_seconds": ("histogram", SENT, HTTP_BOUNDS),
    "etcd_rafthttp_message_sent_failed_total": ("counter", SENT, []),
    "etcd_store_reads_total": ("counter", ("action",), []),
    "etcd_store_writes_total": ("counter", ("action",), []),
    "etcd_store_expires_total": ("counter", (), []),
    "etcd_store_watch_requests_total": ("counter", (), []),
    "etcd_store_watchers": ("gauge", (), []),
}
"""What dashboards of etcd 2.3 rely on: kind, labels and buckets of each name."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics(clock: ManualClock) -> Metrics:
    return Metrics(clock, tick_ms=100)


# --- what is counted and warned of ------------------------------------------------------


def test_a_slow_sync_is_counted_explained_and_warned_of_once_a_second(
    metrics: Metrics, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    metrics.saving()
    clock.advance(1500 * MS)
    metrics.saved(1.5, entries=3, last_index=9)
    metrics.saving()
    metrics.saved(1.25, entries=1, last_index=10)
    assert (metrics.wal_syncs.count, metrics.batch_entries.total) == (2, 4)
    assert metrics.wal_last_index == 10
    assert longest(metrics.delays, 0.0, 1.5, local=False) == (Cause.DISK, 1.5)
    (record,) = caplog.records
    assert record.name == "kvraft.wal"
    assert record.getMessage() == "sync duration of 1.500s, expected less than 1s"


def test_a_sync_that_does_not_return_explains_what_waits_for_it(
    metrics: Metrics, clock: ManualClock
) -> None:
    metrics.saving()
    clock.advance(7000 * MS)
    assert longest(metrics.delays, 0.0, 7.0, local=False) == (Cause.DISK, 7)


def test_a_leader_whose_heartbeats_are_late_says_so(
    metrics: Metrics, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(2000 * MS)
    metrics.ticked(0.09, heartbeats=True)
    metrics.ticked(0.5, heartbeats=False)
    assert not caplog.records
    metrics.ticked(0.223, heartbeats=True)
    metrics.ticked(0.3, heartbeats=True)
    assert [record.getMessage() for record in caplog.records] == [
        "failed to send out heartbeat on time (deadline exceeded for 123ms)",
        "server is likely overloaded",
    ]
    clock.advance(1000 * MS)
    metrics.ticked(0.3, heartbeats=True)
    assert len(caplog.records) == 4
    assert metrics.loop_lag.count == 5
    assert metrics.loop_lag_max_s == 0.5
    assert metrics.delays.longest(1.5, 2.0, local=True) is not None


def test_leaders_are_counted_when_they_change(metrics: Metrics, clock: ManualClock) -> None:
    for leader in (0, 5, 5, 0, 5, 6):
        metrics.leadership(leader)
        clock.advance(1000 * MS)
    assert metrics.leader_changes == 2
    assert longest(metrics.delays, 3.0, 4.0, local=False) == (Cause.LEADER, 1.0)


def test_the_start_a_full_disk_and_a_backlog_explain_delays(
    metrics: Metrics, clock: ManualClock
) -> None:
    for moment, (tell, cause) in enumerate(
        (
            (metrics.starting, Cause.START),
            (metrics.disk_full, Cause.DISK_FULL),
            (metrics.applying, Cause.APPLY),
        )
    ):
        tell(True)
        clock.advance(1000 * MS)
        tell(False)
        assert longest(metrics.delays, moment, moment + 1.0, local=False) == (cause, 1)


def test_of_a_snapshot_the_encoding_is_measured_apart(metrics: Metrics, clock: ManualClock) -> None:
    def chunks() -> list[bytes]:
        clock.advance(2 * MS)
        return [b"a", b"b"]

    timer = SnapshotTimer(metrics)
    for _ in timer.encoding(chunk for chunk in chunks()):
        clock.advance(10 * MS)
    timer.finish()
    assert metrics.snapshot_encoding.total == pytest.approx(0)
    assert metrics.snapshot_saves.total == pytest.approx(0.022)


# --- how it is shown --------------------------------------------------------------------


async def scrape(member: Running, figures: HttpFigures | None = None) -> str:
    made: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    member.member.diagnostics.metrics(figures or HttpFigures(), made.set_result)
    return (await made).decode()


def shown(text: str) -> dict[str, tuple[str, tuple[str, ...], list[float]]]:
    """Kind, labels and buckets of each name."""
    names = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        samples = re.findall(rf"^{name}(?:_bucket|_sum|_count)?(?:\{{(.*)\}})? ", text, re.M)
        labels = {label for sample in samples for label in re.findall(r"(\w+)=", sample)} - {"le"}
        bounds = {float(le) for sample in samples for le in re.findall(r'le="([^"]*)"', sample)}
        names[name] = kind, tuple(sorted(labels)), sorted(bounds - {float("inf")})
    return names


def value(text: str, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found)


def used_figures() -> HttpFigures:
    """Those of a port where everything has happened once."""
    figures = HttpFigures()
    for kind in (GET, PUT):
        figures.received[kind] += 2
        figures.durations[kind].observe(0.001)
        figures.fail(kind, 404)
    figures.recursive_reads = 1
    return figures


@pytest.mark.asyncio
async def test_the_names_are_those_of_the_original_and_of_the_documentation(
    tmp_path: Path,
) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        await cluster.settled()
        other = next(member for member in cluster.members if member is not leader)
        await other.stop()
        await until(lambda: len(leader.member._hub.connected()) == 1)
        await leader.put("b")
        leader.member.metrics.probes[other.member.member_id] = Probe(0.001, 0.5)
        names = shown(await scrape(leader, used_figures()))
        await other.start()
        # A listener that is closed while it accepts somebody leaves a socket behind (asyncio).
        await until(lambda: all(len(m.member._hub.connected()) == 2 for m in cluster.members))
    for name, expected in ETCD.items():
        kind, labels, bounds = names.pop(name)
        assert (kind, labels) == expected[:2], name
        assert bounds == pytest.approx(expected[2]), name
    foreign = [name for name in names if not name.startswith(("kvraft_", "process_", "python_"))]
    assert foreign == []
    own = {name for name in names if name.startswith("kvraft_")}
    described = set(re.findall(r"^\| `(kvraft_\w+)", DOCUMENT.read_text("utf-8"), re.MULTILINE))
    assert own == described
    assert all(f"`{name}`" in DOCUMENT.read_text("utf-8") for name in ETCD)


@pytest.mark.asyncio
async def test_the_figures_are_those_of_the_member(tmp_path: Path) -> None:
    async with running(1, tmp_path) as cluster:
        leader = await cluster.leader()
        for number in range(5):
            await leader.put(f"k{number}")
        replica = leader.replica
        # What a new cluster writes by itself: its version, and the member's addresses.
        await until(lambda: leader.member.cluster_version is not None)
        await until(lambda: all(info.client_urls for info in replica.members.values()))
        await cluster.settled()
        text = await scrape(leader)
        assert value(text, "etcd_wal_last_index_saved") == replica.core.log.last
        assert value(text, "etcd_server_pending_proposal_total") == 0
        assert value(text, "etcd_server_proposal_durations_seconds_count") >= 5
        assert value(text, "etcd_wal_fsync_durations_seconds_count") >= 5
        assert value(text, 'etcd_store_writes_total{action="set"}') >= 5
        assert value(text, "kvraft_commit_index") == replica.core.commit
        assert value(text, "kvraft_applied_index") == replica.applied_index
        assert value(text, "kvraft_is_leader") == value(text, "kvraft_has_leader") == 1
        assert value(text, "kvraft_leader_changes_total") == 1
        assert value(text, "kvraft_db_keys") == 5
        assert re.search(r'^kvraft_info\{version="[^"]+"\} 1$', text, re.MULTILINE)
        assert "etcd_http_received_total" not in text, "shown once it has been used"
        # Whole numbers are written as etcd writes them.
        assert not re.search(r"\.0$", text, re.MULTILINE)


@pytest.mark.asyncio
async def test_a_restart_knows_the_last_index_saved(tmp_path: Path) -> None:
    async with running(1, tmp_path) as cluster:
        member = await cluster.leader()
        await member.put("a")
        await member.stop()
        await member.start()
        assert member.member.metrics.wal_last_index == member.replica.core.log.last > 0


@pytest.mark.asyncio
async def test_two_members_of_one_process_have_figures_of_their_own(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        await cluster.settled()
        texts = [await scrape(member) for member in cluster.members]
    assert sum(value(text, "kvraft_is_leader") for text in texts) == 1
    ids = {f"{member.member.member_id:x}" for member in cluster.members}
    for text in texts:
        peers = set(re.findall(r'kvraft_peer_connected\{remoteID="(\w+)"\}', text))
        assert len(peers) == 2
        assert peers < ids


@pytest.mark.asyncio
async def test_raft_status(tmp_path: Path) -> None:
    async with running(3, tmp_path) as cluster:
        leader = await cluster.leader()
        await leader.put("a")
        await cluster.settled()
        own_id = f"{leader.member.member_id:x}"
        for member in cluster.members:
            status = member.member.diagnostics.variables()["raft.status"]
            assert isinstance(status, dict)
            assert list(status) == ["id", "term", "vote", "commit", "lead", "raftState", "progress"]
            assert status["id"] == f"{member.member.member_id:x}"
            assert status["lead"] == own_id
            if member is not leader:
                assert (status["raftState"], status["progress"]) == ("StateFollower", {})
                continue
            assert status["raftState"] == "StateLeader"
            assert len(status["progress"]) == 3
            last = leader.replica.core.log.last
            assert status["progress"][own_id] == {
                "match": last,
                "next": last + 1,
                "state": "ProgressStateProbe",
            }


def test_all_frames_have_names() -> None:
    names = [message_name(kind) for kind in FRAME_NUMBERS]
    assert len(set(names)) == len(names)
    assert message_name(Append) == "MsgApp"
    assert message_name(InstallSnapshot) == "MsgSnap"
