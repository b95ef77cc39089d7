"""The figures of a member under the names that monitoring knows, as families of samples.

The names of etcd 2.3 come first, so that its dashboards and alerts go on working (admin-api,
section 3); ours begin with `kvraft_` and are described in docs/metrics.md. As with the original,
what has labels appears only once it has been used.

`families` reads the counters at one moment, in a millisecond or so; `text` turns them into bytes,
which takes longer, and may run in a thread. Nothing here is shared between the members of one
process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from kvraft.api.figures import COUNTED
from kvraft.raft import message
from kvraft.raft.core import Role
from kvraft.server.changes import ChangeReply, ChangeRequest
from kvraft.server.checks import CheckReport, CheckVerdict
from kvraft.server.forwarding import Forward, ForwardReply
from kvraft.server.ids import format_id

if TYPE_CHECKING:
    from kvraft.api.figures import HttpFigures
    from kvraft.histogram import Histogram
    from kvraft.server.metrics import Metrics
    from kvraft.server.peerstats import PeerStats
    from kvraft.server.replica import Replica
    from kvraft.store.stats import Stats
    from kvraft.transport.links import PeerLinks

_Labels = tuple[str, ...]
_SENT_LABELS: Final = ("sendingType", "remoteID", "msgType")

MESSAGE_NAMES: Final[dict[type[Any], str]] = {
    message.PreVote: "MsgPreVote",
    message.PreVoteReply: "MsgPreVoteResp",
    message.Vote: "MsgVote",
    message.VoteReply: "MsgVoteResp",
    message.Append: "MsgApp",
    message.AppendReply: "MsgAppResp",
    message.Heartbeat: "MsgHeartbeat",
    message.HeartbeatReply: "MsgHeartbeatResp",
    message.InstallSnapshot: "MsgSnap",
    message.SnapshotReport: "MsgSnapStatus",
    message.ReadRequest: "MsgReadIndex",
    message.ReadReply: "MsgReadIndexResp",
    message.TimeoutNow: "MsgTimeoutNow",
    Forward: "MsgProp",
    ForwardReply: "MsgPropResp",
    ChangeRequest: "MsgConfChange",
    ChangeReply: "MsgConfChangeResp",
    CheckReport: "MsgCheck",
    CheckVerdict: "MsgCheckResp",
}
"""What etcd calls the messages; its later versions for those that 2.3 does not have."""

_WRITES: Final = (
    ("set", "sets"),
    ("create", "create"),
    ("update", "update"),
    ("compareAndSwap", "compare_and_swap"),
    ("delete", "delete"),
    ("compareAndDelete", "compare_and_delete"),
)


class Parts(NamedTuple):
    """What the figures of one member are read from."""

    member_id: int
    replica: Replica
    hub: PeerLinks
    peers: PeerStats
    metrics: Metrics


def process_collectors() -> CollectorRegistry:
    """Memory, CPU time, descriptors and garbage collection of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def text(families: Iterable[Metric], process: CollectorRegistry) -> bytes:
    """The answer to a scrape; may take some milliseconds and reads files of the system."""
    own = InfoMetricFamily("kvraft", "The version of this server.", {"version": own_version()})
    written = generate_latest(_Families([*families, own, *process.collect()]))
    # The library writes every number as a float; etcd's are whole where they can be.
    return _WHOLE.sub(b"\n", written)


@cache
def own_version() -> str:
    """The version of this program; takes a walk through the installed packages."""
    try:
        return metadata.version("kvraft")
    except metadata.PackageNotFoundError:
        return "unknown"


_WHOLE: Final = re.compile(rb"(?<=\d)\.0\n")


class _Families(CollectorRegistry):
    """Families that have been collected already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def families(parts: Parts, http: HttpFigures) -> list[Metric]:
    """All figures of a member at this moment; `http` are those of its client port."""
    return [
        *_server(parts),
        *_http(http),
        *_sent(parts),
        *_store(parts.replica.store.stats, http, parts),
        *_own_consensus(parts),
        *_own_peers(parts),
        *_own_process(parts, http),
    ]


# --- helpers ------------------------------------------------------------------------------


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    buckets, total = _buckets(histogram)
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=total)


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulated counts by upper bound, as the format has them."""
    count = 0
    buckets: list[tuple[str, float]] = []
    for bound, observed in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        count += observed
        upper: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
        buckets.append((upper.removesuffix(".0"), count))
    return buckets, histogram.total


# --- the names of etcd 2.3 ----------------------------------------------------------------


def _server(parts: Parts) -> Iterator[Metric]:
    metrics, proposals = parts.metrics, parts.replica.proposals
    yield _histogram(
        "etcd_server_proposal_durations_seconds",
        "Seconds from the proposal of a write to its application on this member.",
        proposals.durations,
    )
    yield _gauge(
        "etcd_server_pending_proposal_total",
        "Writes of this member's clients that are not answered yet.",
        len(proposals),
    )
    yield _counter(
        "etcd_server_proposal_failed_total",
        "Writes that were given up or refused for want of a cluster.",
        proposals.failed,
    )
    yield _gauge(
        "etcd_server_file_descriptors_used_total",
        "File descriptors that this process has open.",
        metrics.descriptors,
    )
    yield _histogram(
        "etcd_wal_fsync_durations_seconds",
        "Seconds that a sync of the log took.",
        metrics.wal_syncs,
    )
    yield _gauge(
        "etcd_wal_last_index_saved",
        "The last entry that is durable in the log.",
        metrics.wal_last_index,
    )
    yield _histogram(
        "etcd_snapshot_save_total_durations_seconds",
        "Seconds from the begin of a snapshot until it was durable.",
        metrics.snapshot_saves,
    )
    yield _histogram(
        "etcd_snapshot_save_marshalling_durations_seconds",
        "Seconds of a snapshot that went into its encoding.",
        metrics.snapshot_encoding,
    )


def _http(http: HttpFigures) -> Iterator[Metric]:
    received = CounterMetricFamily(
        "etcd_http_received_total",
        "Well-formed and permitted requests on keys, watches left out, by method.",
        labels=("method",),
    )
    durations = HistogramMetricFamily(
        "etcd_http_successful_duration_second",
        "Seconds that a successful request on keys took, watches left out, by method.",
        labels=("method",),
    )
    for kind, method in enumerate(COUNTED):
        if http.received[kind]:
            received.add_metric((method,), http.received[kind])
        if http.durations[kind].count:
            durations.add_metric((method,), *_buckets(http.durations[kind]))
    failed = CounterMetricFamily(
        "etcd_http_failed_total",
        "Requests on keys that were answered with an error, by method and status.",
        labels=("method", "code"),
    )
    for (kind, status), count in sorted(http.failed.items()):
        failed.add_metric((COUNTED[kind], str(status)), count)
    yield from _used(received, durations, failed)


def _sent(parts: Parts) -> Iterator[Metric]:
    latency = HistogramMetricFamily(
        "etcd_rafthttp_message_sent_latency_seconds",
        "Seconds to hand a message for another member to the network.",
        labels=_SENT_LABELS,
    )
    failed = CounterMetricFamily(
        "etcd_rafthttp_message_sent_failed_total",
        "Messages that could not be handed to the network for another member.",
        labels=_SENT_LABELS,
    )
    for member_id in _others(parts):
        for kind, sent in parts.peers.traffic(member_id).items():
            labels = (_sending_type(kind), format_id(member_id), message_name(kind))
            if sent.latency.count:
                latency.add_metric(labels, *_buckets(sent.latency))
            if sent.failed:
                failed.add_metric(labels, sent.failed)
    yield from _used(latency, failed)


def message_name(kind: type[Any]) -> str:
    """What a kind of frame is called in a label."""
    return MESSAGE_NAMES.get(kind) or f"Msg{kind.__name__}"


def _sending_type(kind: type[Any]) -> str:
    if kind is message.InstallSnapshot:
        return "sendMsgSnap"
    return "msgappv2" if kind is message.Append else "message"


def _store(stats: Stats, http: HttpFigures, parts: Parts) -> Iterator[Metric]:
    store = parts.replica.store
    reads = CounterMetricFamily(
        "etcd_store_reads_total",
        "Reads served by the store of this member, failed ones included, by action.",
        labels=("action",),
    )
    plain = stats.gets_success + stats.gets_fail - http.recursive_reads
    for action, count in (("get", max(0, plain)), ("getRecursive", http.recursive_reads)):
        if count:
            reads.add_metric((action,), count)
    writes = CounterMetricFamily(
        "etcd_store_writes_total",
        "Writes applied to the store of this member, failed ones included, by action.",
        labels=("action",),
    )
    for action, name in _WRITES:
        count = getattr(stats, f"{name}_success") + getattr(stats, f"{name}_fail")
        if count:
            writes.add_metric((action,), count)
    yield from _used(reads, writes)
    yield _counter("etcd_store_expires_total", "Keys that have expired.", stats.expire_count)
    yield _counter(
        "etcd_store_watch_requests_total",
        "Watches that clients have asked for.",
        http.watch_requests,
    )
    yield _gauge("etcd_store_watchers", "Watches that are open.", store.hub.count)


def _used(*metrics: Metric) -> Iterator[Metric]:
    """Those that have samples."""
    return (metric for metric in metrics if metric.samples)


# --- our own --------------------------------------------------------------------------------


def _own_consensus(parts: Parts) -> Iterator[Metric]:
    replica, metrics = parts.replica, parts.metrics
    core = replica.core
    yield _gauge("kvraft_term", "The term of consensus.", core.term)
    yield _gauge("kvraft_commit_index", "The last entry known to be committed.", core.commit)
    yield _gauge(
        "kvraft_applied_index", "The last entry applied to the store.", replica.applied_index
    )
    lag = max(0, core.commit - replica.applied_index)
    yield _gauge("kvraft_apply_lag_entries", "Committed entries that are not applied yet.", lag)
    yield _gauge("kvraft_is_leader", "1 if this member leads.", float(core.role is Role.LEADER))
    yield _gauge("kvraft_has_leader", "1 if this member knows a leader.", float(core.leader != 0))
    yield _counter(
        "kvraft_leader_changes_total",
        "Leaders seen by this member since it started.",
        metrics.leader_changes,
    )
    yield _histogram(
        "kvraft_batch_entries", "Entries per record of the log.", metrics.batch_entries
    )
    yield _gauge(
        "kvraft_disk_full", "1 while writes are refused for want of space.", replica.disk_full
    )
    yield _gauge(
        "kvraft_snapshot_index",
        "The last entry contained in the newest snapshot.",
        replica.snapshot_index,
    )
    yield _counter(
        "kvraft_snapshot_failed_total",
        "Snapshots that could not be saved for want of space.",
        metrics.snapshots_failed,
    )
    yield _counter(
        "kvraft_snapshot_received_total",
        "Snapshots received from a leader.",
        metrics.snapshots_received,
    )
    yield from _corruption(metrics)


def _corruption(metrics: Metrics) -> Iterator[Metric]:
    yield _counter(
        "kvraft_corrupt_check_total",
        "Comparisons of the members' data made by this member as the leader.",
        metrics.checks,
    )
    yield _counter(
        "kvraft_corrupt_check_failures_total",
        "Comparisons in which the data of some member differed.",
        metrics.check_failures,
    )
    yield _gauge(
        "kvraft_corrupt_check_index",
        "The last entry at which this member's data was compared and found equal.",
        metrics.check_index,
    )


def _own_peers(parts: Parts) -> Iterator[Metric]:
    labels = ("remoteID",)
    connected = GaugeMetricFamily(
        "kvraft_peer_connected", "1 if frames can be sent to this member.", labels=labels
    )
    round_trip = GaugeMetricFamily(
        "kvraft_peer_round_trip_seconds",
        "From a request or heartbeat to its answer, the last time.",
        labels=labels,
    )
    clock = GaugeMetricFamily(
        "kvraft_peer_clock_difference_seconds",
        "How far the clock of this member is ahead of the own one, at the last look.",
        labels=labels,
    )
    sent = CounterMetricFamily(
        "kvraft_peer_sent_bytes_total", "Bytes of frames sent to this member.", labels=labels
    )
    received = CounterMetricFamily(
        "kvraft_peer_received_bytes_total",
        "Bytes of frames received from this member.",
        labels=labels,
    )
    reached = parts.hub.connected()
    for member_id in _others(parts):
        label = (format_id(member_id),)
        probe = parts.metrics.probes.get(member_id)
        seconds = parts.peers.round_trip_s(member_id) or (probe.round_trip_s if probe else 0.0)
        connected.add_metric(label, float(member_id in reached))
        if seconds:
            round_trip.add_metric(label, seconds)
        if probe is not None:
            clock.add_metric(label, probe.ahead_s)
        sent.add_metric(label, parts.hub.sent_bytes(member_id))
        received.add_metric(label, parts.metrics.received_bytes.get(member_id, 0))
    yield from _used(connected, round_trip, clock, sent, received)


def _others(parts: Parts) -> list[int]:
    return [member_id for member_id in parts.replica.members if member_id != parts.member_id]


def _own_process(parts: Parts, http: HttpFigures) -> Iterator[Metric]:
    metrics, store = parts.metrics, parts.replica.store
    queued = [len(watcher.events) for watcher in store.hub.watchers()]
    yield _gauge("kvraft_connections", "Connections of clients.", http.connections)
    yield _counter(
        "kvraft_slow_requests_total", "Requests slower than --slow-request-ms.", http.slow
    )
    yield _gauge("kvraft_watch_queue_events", "Events that wait for slow watchers.", sum(queued))
    yield _gauge(
        "kvraft_watch_queue_max_events",
        "Events that wait for the slowest watcher.",
        max(queued, default=0),
    )
    yield _gauge(
        "kvraft_db_keys",
        "Keys and directories in memory, removed ones not yet freed included.",
        store.count_nodes(),
    )
    yield _histogram(
        "kvraft_ttl_error_seconds",
        "How late keys have expired, by the time of the log.",
        store.lateness,
    )
    yield _histogram(
        "kvraft_loop_lag_seconds", "How late the event loop runs what is due.", metrics.loop_lag
    )
    yield _gauge(
        "kvraft_loop_lag_max_seconds", "The longest such delay so far.", metrics.loop_lag_max_s
    )
    yield _histogram(
        "kvraft_gc_pause_seconds", "Pauses of the garbage collector.", metrics.gc_pauses
    )
