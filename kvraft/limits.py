"""Every bound of the system, in one place, each with the reason for its number.

Sizes are in bytes unless the name says otherwise. A bound that a user may set is a flag;
these are the ones that protect the process whatever the flags say.
"""

from __future__ import annotations

from typing import Final

# --- consensus -------------------------------------------------------------------------
MAX_APPEND_BYTES: Final = 1 << 20  # one append: amortises a frame, does not delay heartbeats
MAX_INFLIGHT_APPENDS: Final = 512  # unanswered appends per follower; what etcd 2.3 allows
MAX_INFLIGHT_BYTES: Final = 16 << 20  # unanswered bytes per follower: 512 full appends are too many
MAX_UNCOMMITTED_BYTES: Final = 64 << 20  # a leader without quorum refuses before memory suffers
MAX_APPLY_ENTRIES: Final = 512  # committed entries per round: a few ms of the loop's time
MAX_APPLY_BYTES: Final = 16 << 20  # and so many bytes, for the same reason

# --- key space -------------------------------------------------------------------------
HISTORY_EVENTS: Final = 1000  # what etcd 2.3 keeps; clients rely on error 401 beyond it
MAX_PATH_DEPTH: Final = 128  # components of a key: deeper trees have no user and cost every walk
WATCH_QUEUE: Final = 100  # undelivered events per watcher; what etcd 2.3 buffers
GET_INLINE_NODES: Final = 2000  # a larger answer is streamed in slices: about 3 ms of loop time

# --- proposals, forwarding, reads ------------------------------------------------------
MAX_PENDING_BYTES: Final = 256 << 20  # of their values: a few of the largest, many of the usual
MAX_PENDING_PROPOSALS: Final = 16384  # unanswered writes per member: twice the connections expected
MAX_PENDING_READS: Final = 65536  # quorum reads waiting for a round; each costs little
PROPOSAL_BATCH_ENTRIES: Final = 1024  # proposals given to the log at once: a few ms of work
FORWARD_WINDOW_BATCHES: Final = 64  # forwarded batches without an answer, per leader
FORWARD_BATCH_BYTES: Final = 1 << 20  # one forwarded batch: the size of one append
STAMP_INTERVAL_MS: Final = 20  # how stale log time may be for a write while keys with a TTL exist
SYNC_INTERVAL_MS: Final = 500  # how often the leader expires keys; what etcd 2.3 does

# --- peers -----------------------------------------------------------------------------
MAX_FRAME_BYTES: Final = 32 << 20  # one frame: an append holds at most one entry beyond 1 MiB
MAX_PEER_HEAD_BYTES: Final = 16 << 10  # request head on the peer port; ours has 300 bytes
MAX_PEER_CONNECTIONS: Final = 256  # on the peer port: members, joiners and proxies are few
PEER_REQUEST_TIMEOUT_S: Final = 5  # from a connection, or an answer, to a request; as etcd 2.3
MAX_PEER_BACKLOG_BYTES: Final = 64 << 20  # unsent bytes per peer; beyond it frames are dropped
MAX_PEER_COMPLAINTS: Final = 8  # reasons logged while a peer cannot be reached; each once
PEER_RECONNECT_MS: Final = 100  # pause between attempts to reach a peer
PEER_CONNECT_TIMEOUT_MS: Final = 1000  # a peer that takes longer to accept is unreachable
PEER_SILENCE_MS: Final = 5000  # unacknowledged bytes on the wire for so long: dead connection
SNAPSHOT_CHUNK_NODES: Final = 1000  # nodes per snapshot chunk: about 1 ms of encoding
MAX_SNAPSHOT_CHUNK_BYTES: Final = 64 << 20  # a chunk of 1000 nodes may hold large values
MAX_INCOMING_SNAPSHOTS: Final = 2  # received, but not installed yet: the present and the next
DISK_FULL_RETRY_MS: Final = 1000  # how soon a write is tried again on a full disk
SNAPSHOT_TRANSFER_TIMEOUT_MS: Final = 60_000  # without any progress; then it is started anew

# --- TLS -------------------------------------------------------------------------------
TLS_WAITING: Final = 1024  # connections that have said nothing yet; beyond it the oldest goes
TLS_QUEUE: Final = 256  # complete hellos waiting their turn: half a second of work
TLS_HANDSHAKES: Final = 128  # in progress: each holds 30 KB, and may cost 1 ms of signing at once
TLS_STARTS_PER_TURN: Final = 4  # handshakes begun in one turn of the loop: 1 ms each with RSA 2048
TLS_ACCEPTS_PER_TURN: Final = 64  # connections taken in one turn of the loop: about 1 ms
TLS_HELLO_TIMEOUT_S: Final = 10  # from the connection to a complete first message
TLS_HANDSHAKE_TIMEOUT_S: Final = 10  # and from there to the end of the handshake
TLS_PATIENCE_S: Final = 1  # a handshake this old is given up when others wait for its place
TLS_CLOSE_TIMEOUT_S: Final = 2  # how long the other side may take to say that it closes, too
MAX_HELLO_BYTES: Final = 16384 + 5  # the first message: one record of TLS, with its header
ACCEPT_RETRY_S: Final = 1  # pause after an accept for which there was no descriptor or memory
HANDSHAKE_LOG_S: Final = 1  # failed handshakes within it share one line
CERTIFICATE_CHECK_S: Final = 60  # how often the files are looked at; renewals have days
CERTIFICATE_NOTICE_S: Final = 7 * 86400  # expiry is announced so long before: time to act

# --- discovery, a member's side --------------------------------------------------------
DISCOVERY_REQUEST_S: Final = 5  # a request that is no wait; what etcd 2.3 grants
DISCOVERY_WAIT_S: Final = 600  # then the wait is asked for again: routers forget idle connections
DISCOVERY_MAX_BACKOFF_S: Final = 64  # the pause doubles up to here; a mended service is found soon
DISCOVERY_EMPTY_WAIT_PAUSE_S: Final = 0.5  # after a wait that ended without an event: no busy loop
DISCOVERY_MAX_ANSWER_BYTES: Final = 8 << 20  # a listing of all registrations, 200 bytes each
DISCOVERY_MAX_REGISTRATIONS: Final = 20_000  # under one token; clusters have less than ten members
MAX_INDEX_DIGITS: Final = 20  # of a store's index in a header: it has 64 bits
DNS_LOOKUP_S: Final = 10  # both servers of a usual resolv.conf asked once
DNS_MAX_RECORDS: Final = 1000  # SRV records of one name: each costs a look-up of an address

# --- discovery, the service ------------------------------------------------------------
DISCOVERY_BACKEND_CONNECT_S: Final = 1  # to the store behind the service; what others wait
DISCOVERY_BACKEND_ANSWER_S: Final = 8  # an election may pass before a write is answered
DISCOVERY_SERVED_WAIT_S: Final = 300  # an answer that is a wait: then the member asks again
DISCOVERY_BODY_S: Final = 10  # for a body to arrive
DISCOVERY_MAX_BODY_BYTES: Final = 64 << 10  # a registration has some hundred bytes
DISCOVERY_MAX_CONNECTIONS: Final = 4096  # one for each member that waits; an option
DISCOVERY_MAX_ADDRESSES: Final = 10_000  # clients whose rate is remembered: about 2 MB
DISCOVERY_NEW_PER_MINUTE: Final = 600  # tokens for one address, which may stand for many; an option
DISCOVERY_DRAIN_S: Final = 1  # how long requests may take to finish when the service stops

# --- storage ---------------------------------------------------------------------------
WAL_SEGMENT_BYTES: Final = 64_000_000  # a segment is closed at this size; what etcd 2.3 does
WAL_RECORD_BYTES: Final = 128 << 20  # one record: twice what a leader holds uncommitted
SNAPSHOTS_KEPT: Final = 2  # at least: the newest may turn out unreadable

# --- backups ---------------------------------------------------------------------------
MAX_BACKUPS: Final = 2  # at a time: each holds a view, and what is changed meanwhile twice
BACKUP_READ_TIMEOUT_S: Final = 60  # a member that sends nothing for so long will not go on
FORCE_PROBE_TIMEOUT_MS: Final = 2000  # a member that takes longer is not one that leads anybody
PURGE_INTERVAL_S: Final = 30  # how often old files are looked for; what etcd 2.3 does

# --- consensus, bookkeeping ------------------------------------------------------------
ENTRY_OVERHEAD_BYTES: Final = 64  # what an entry costs beside its data: tuple, ints, framing
PROMOTE_LAG_ENTRIES: Final = 1000  # a learner this close catches up within a heartbeat or two
PROMOTE_LAG_BYTES: Final = 4 << 20  # and a thousand large values would not be a heartbeat's work
MAX_WAITING_READS: Final = 4096  # batches of forwarded reads on a leader; more are sent again

# --- clients ---------------------------------------------------------------------------
MAX_HEAD_BYTES: Final = (1 << 20) + 4096  # request line and headers; what Go 1.19 allows
MAX_HEADER_FIELDS: Final = 1000  # each costs some 150 bytes beside its own
MAX_FORM_BYTES: Final = 10 << 20  # a form body; what Go 1.19 allows
MAX_DISCARD_BYTES: Final = 256 << 10  # of a body that is too large, until its sender is cut off
MAX_BUFFERED_BODY_BYTES: Final = 512 << 20  # requests of all clients, unfinished or waiting
MAX_UNSENT_BYTES: Final = 512 << 20  # answers of all clients that read too slowly
MAX_SILENT_FRAMING_BYTES: Final = 1 << 20  # chunk headers and trailers without any data: an attack
PARSE_SLICE_BYTES: Final = 64 << 10  # what is handled in one piece: 0.1 ms of copying
INPUT_SLICE_BYTES: Final = 16 << 10  # given to the parser at once: at most 600 pipelined requests
LISTING_COST_BYTES: Final = 200 << 10  # a slice of a listing takes as long as so many bytes: 1 ms
MAX_PIPELINED: Final = 64  # parsed requests waiting for an answer before reading stops
MAX_PIPELINED_BYTES: Final = 1 << 20  # and so many bytes of them: one more body may follow
REQUEST_OVERHEAD_BYTES: Final = 2000  # a waiting request beside its body and target: the head
TURN_BYTES: Final = 2 << 20  # handled in one turn of the loop: about 10 ms of large values
SMALL_INPUT_BYTES: Final = 2048  # what arrives at once and is no flood: not worth counting
REQUEST_COST_BYTES: Final = 5000  # a pipelined request takes as long as so many bytes: 25 us
WAKE_COST_BYTES: Final = 2000  # and a watcher that gets its event
SMALL_ANSWER_BYTES: Final = 2048  # up to here Go sends Content-Length, beyond it chunks
VIEW_SLICE_NODES: Final = 500  # of a streamed listing between two turns of the loop: under 1 ms
MAX_SHARED_QUERIES: Final = 512  # parsed query strings kept; a client uses a handful
MAX_SHARED_QUERY_BYTES: Final = 64  # longer queries hold values and indices that do not recur
MAX_KNOWN_HOSTS: Final = 1024  # Host headers already checked; servers have a few names
MAX_CLIENT_CONNECTIONS: Final = 16384  # unless the limit of file descriptors is lower
ACCEPT_SLACK: Final = 3072  # accepted but not counted yet: a backlog, and TLS before its end
RESERVED_DESCRIPTORS: Final = 150  # kept for peers, log and snapshots; what etcd 2.3 keeps
HEAD_TIMEOUT_S: Final = 30  # from the first byte to a complete head: defeats slow senders
REQUEST_TIMEOUT_S: Final = 300  # from the first byte to a complete request; etcd's 5 minutes
IDLE_TIMEOUT_S: Final = 300  # a kept connection without a request; etcd's 5 minutes
STALL_TIMEOUT_S: Final = 300  # a client that does not take what it was sent
PRESSED_HEAD_TIMEOUT_S: Final = 5  # the same four while there is hardly room for others:
PRESSED_REQUEST_TIMEOUT_S: Final = 30  # nobody may hold for minutes what others need,
PRESSED_IDLE_TIMEOUT_S: Final = 5  # and kept connections are opened again
PRESSED_STALL_TIMEOUT_S: Final = 10  # at no cost but a millisecond
PRESSED_SHARE: Final = 0.8  # of connections or bytes in use; where etcd 2.3 warns of descriptors
MAX_REFUSED_CONNECTIONS: Final = 64  # told that there are too many; beyond it they are cut
LINGER_TIMEOUT_S: Final = 1  # a refused client may still read the answer for so long
SWEEP_SLICE: Final = 2000  # connections looked at in one turn of the loop: about 0.5 ms
MAX_WAITING_FOR_START: Final = 10_000  # requests held back until the member has caught up
START_WAIT_S: Final = 7  # how long; then error 300, as for any request that is not served in time
START_POLL_MS: Final = 10  # how often it is asked whether it has

# --- key space: slices of long work ----------------------------------------------------
EXPIRE_BATCH: Final = 2000  # keys that one SYNC expires: some 10 ms; the next one goes on
VIEW_CHUNK_BYTES: Final = 256 << 10  # one slice of a listing: few large values fill it early
SORT_RUN_NODES: Final = 4096  # names sorted at once: about 2 ms, then merged lazily
SNAPSHOT_CHUNK_BYTES: Final = 1 << 20  # a chunk ends early at large values: 1 ms of copying
RECLAIM_BACKLOG: Final = 1000  # removed directories not yet taken apart; then writers help
HEALTH_TIMEOUT_MS: Final = 1000  # /health: a quorum read that takes longer is no health
RECLAIM_SLICE_NODES: Final = 2000  # removed nodes freed in one turn of the loop: about 1 ms
LISTEN_BACKLOG: Final = 1024  # connections the kernel completes while the loop is busy

# --- observability ---------------------------------------------------------------------
SLOW_LINES_PER_SECOND: Final = 10  # slow requests logged; when all are slow, some are enough
SLOW_PATH_BYTES: Final = 200  # of a path in a log line; a path may have a megabyte
DELAYS_KEPT: Final = 256  # intervals that explain slow requests: some minutes of a bad disk
DELAY_NOTED_S: Final = 0.02  # what holds everybody up for so long may explain a slow request
SLOW_SYNC_S: Final = 1.0  # a sync that takes longer is warned of; what etcd 3 does
CHECK_PAUSE_S: Final = 0.004  # between slices of a digest of 1 ms: a fifth of the loop's time
CHECK_INLINE_BYTES: Final = 64 << 10  # of a slice hashed on the loop: 0.1 ms; more in a thread
CHECK_PATIENCE_S: Final = 120  # for the digests of all members: a million keys take some 10 s
CHECK_GRACE_S: Final = 10  # for the others, beside once more what the first member has taken
CHECK_DIGEST_BYTES: Final = 64  # of a digest or version in a frame; ours have 32 or fewer
PROFILED_TASKS: Final = 200  # whose stacks are shown: a millisecond for ten of them
PROFILED_OBJECTS: Final = 200_000  # counted by type; a server has far fewer that are not settled
PROFILE_SLICE_OBJECTS: Final = 20_000  # of them in one turn of the loop: about 2 ms
DESCRIPTORS_REFRESH_S: Final = 5  # how often open descriptors are counted; what etcd 2.3 does
PROBE_INTERVAL_S: Final = 30  # how often other members' clocks are looked at; what etcd 2.3 does
PROBE_TIMEOUT_S: Final = 5  # a member that takes longer tells nothing about its clock
PROBE_BODY_BYTES: Final = 4096  # of an answer; ours has 60
CLOCK_DIFFERENCE_S: Final = 1.0  # between members, to be warned of (what etcd 2.3 does); a wall
# clock ahead by less is believed, as messages may be late by as much

# --- proxy -----------------------------------------------------------------------------
PROXY_MAX_BODY_BYTES: Final = 16 << 20  # kept for a second try; members take forms of 10 MiB
PROXY_MAX_LINE_BYTES: Final = 1 << 20  # a request line: values may stand in the query
PROXY_MAX_FIELD_BYTES: Final = 64 << 10  # one header; no client of etcd comes near
PROXY_MAX_FIELDS: Final = 128  # headers of a message: with the above, what one head may cost
PROXY_SMALL_ANSWER_BYTES: Final = 64 << 10  # read whole before it is passed on, in one write
PROXY_MAX_MEMBERS_BYTES: Final = 1 << 20  # a member list; a thousand members would fit
PROXY_MEMBERS_TIMEOUT_S: Final = 10  # for a member list; what etcd 2.3 allows a peer
PROXY_FIRST_REFRESH_S: Final = 2  # a start waits so long for endpoints, then it listens anyway
PROXY_MIN_REFRESH_MS: Final = 100  # a refresh interval of 0 must not become a busy loop
PROXY_IDLE_UPSTREAM_S: Final = 90  # less than the 300 s after which a member closes the connection
PROXY_TCP_PROBE_S: Final = 30  # keep-alive towards members, so that a watch notices a dead one

# --- membership ------------------------------------------------------------------------
MAX_WAITING_CHANGES: Final = 64  # membership changes of one member's clients without an answer
MAX_QUEUED_CHANGES: Final = 256  # on a leader, from all members; each takes a commit to work off
MAX_CHANGE_BYTES: Final = 64 << 10  # one change: a list of URLs; what is longer is no list of URLs
MAX_ADDRESS_HINTS: Final = 64  # members that told where they are before the log did; see peers
JOIN_TIMEOUT_S: Final = 10  # for one peer to tell a joining member who is there; as etcd 2.3
BOOTSTRAP_PROBE_S: Final = 1  # for a peer to be reached by a new member; as etcd 2.3
MEMBERS_ANSWER_S: Final = 5  # for one that was reached to list the members: it may be busy
MAX_MEMBERS_BYTES: Final = 1 << 20  # a list of members in a peer's answer; a thousand would fit

# --- testing ---------------------------------------------------------------------------
PAUSED_BATCHES: Final = 4096  # of frames kept for a paused member: minutes of heartbeats
TEST_LEADER_WAIT_S: Final = 10.0  # for a leader: elections take 0.1 s, busy machines a second
TEST_ADVANCE_MAX_S: Final = (
    10**9
)  # thirty years; the clock of log time counts nanoseconds in 64 bits

# --- embedded --------------------------------------------------------------------------
PIPE_HIGH_WATER_BYTES: Final = 64 << 10  # unread bytes until a writer pauses; as sockets in asyncio
EMBEDDED_MEMORY_SEGMENT_BYTES: Final = 1 << 20  # of a log in memory: goes as soon as it may

# --- process ---------------------------------------------------------------------------
DISK_TOO_FULL_BYTES: Final = 128 << 20  # two segments of the log: the present one and the next
DISK_NEARLY_FULL_BYTES: Final = 2 << 30  # two snapshots of a million keys, and the log between
CLOCK_BACKWARD_S: Final = 60  # a file may be that much younger than now: file servers' clocks
MAX_MERGED_LINES: Final = 256  # different lines whose repetitions are counted in one second

# --- locks, elections, leases ----------------------------------------------------------
KEEP_TRIES_PER_TTL: Final = 3  # refreshes in a TTL: two may fail before what is held is lost
KEEP_MIN_PAUSE_S: Final = 0.1  # before a refresh that failed is tried again, for TTLs of a second
QUEUE_PAUSE_S: Final = 0.2  # after an outage; many who wait for a lock must not hammer the servers
LEASE_PARALLEL: Final = 8  # requests at a time for the keys of one lease: a burst three times a TTL
QUEUE_LEAVE_S: Final = 3.0  # for deleting the own key; then its TTL does it

# --- auth ------------------------------------------------------------------------------
PASSWORD_THREADS: Final = 2  # at 50 ms a check: 40 first logins a second, and cores left over
MAX_PASSWORD_JOBS: Final = 96  # checks that wait or run: 2.4 s for the last one to be served
MAX_PASSWORD_JOBS_PER_OWNER: Final = 32  # of one user name or address: leaves room for others
MAX_REMEMBERED_PASSWORDS: Final = 4096  # results of checks, right and wrong each: under 1 MB
MAX_AUTH_BODY_BYTES: Final = 256 << 10  # a user or role in a request: about 2 ms of parsing
MAX_AUTH_RECORDS: Final = 10_000  # users and roles: they all stand in one chunk of a snapshot
AUTH_INLINE_RECORDS: Final = 500  # longer lists of users or roles are made in a thread: 3 ms
MAX_RECORD_ATTEMPTS: Final = 200  # of one change that others keep overtaking; one of them succeeds
GUEST_LOG_INTERVAL_S: Final = 1  # the line about anonymous requests: not for each of thousands

# --- client ----------------------------------------------------------------------------
CLIENT_MAX_ANSWER_BYTES: Final = 1 << 30  # one document: a tree of some millions of keys
CLIENT_MAX_REFUSAL_BYTES: Final = 64 << 10  # what is read of an answer that is no success
CLIENT_PARSE_INLINE_BYTES: Final = 64 << 10  # longer documents are parsed in a thread: 1 ms
CLIENT_SHOWN_BYTES: Final = 200  # of an answer nobody understands, in the message of an error
CLIENT_BODY_AT_ONCE_BYTES: Final = 1 << 20  # a longer one is sent in pieces; aiohttp warns else
CLIENT_MAX_REDIRECTS: Final = 5  # of one request; a proxy or standby needs one
CLIENT_ROUNDS: Final = 3  # over all endpoints; a cluster that refuses so often is down, say so
CLIENT_ROUND_PAUSE_S: Final = 0.1  # before the second round, doubled before each further one
CLIENT_BACKOFF_MIN_S: Final = 0.5  # an endpoint that failed is not asked first for so long
CLIENT_BACKOFF_MAX_S: Final = 30  # and so long if it goes on failing
CLIENT_MIN_SHARE_S: Final = 0.5  # of the time left, for one endpoint of many: quorum reads need it
CLIENT_SYNC_INTERVAL_S: Final = 60  # members change rarely; an old list still finds one of them
CLIENT_IDLE_S: Final = 30  # a kept connection; less than servers and most balancers allow
CLIENT_TCP_PROBE_S: Final = 15  # keep-alive, so that a watch notices a machine that is gone
CLIENT_WATCH_PAUSE_MIN_S: Final = 0.05  # a watch that fails tries again after so long
CLIENT_WATCH_PAUSE_MAX_S: Final = 5  # and at least so often, while the cluster is away
CLIENT_WATCH_STEADY_S: Final = 1  # a poll that lasted so long was no failure: no pause after it
CLIENT_WATCH_HEAD_S: Final = 5  # for the head of a poll; some proxies hold it back
CLIENT_STREAM_HEAD_S: Final = 2  # for that of a stream, which kvraft sends at once; then polls
CLIENT_WATCH_SETTLED_S: Final = 5  # of silence after its head: a poll found nothing in the history
CLIENT_WATCH_QUIET_MAX_S: Final = 60  # between two looks at how far a quiet watch has fallen behind
CLIENT_WATCH_BEHIND: Final = 250  # events of others after which a quiet poll is renewed
CLIENT_WATCH_TOO_FAR: Final = 800  # of the 1000 a server keeps: renewing might find them cleared

# --- kvraftctl -------------------------------------------------------------------------
CTL_MAX_ANSWER_BYTES: Final = 1 << 30  # of one body; a listing of millions of keys has less
CTL_MAX_REDIRECTS: Final = 10  # followed for one request; what etcdctl allows
CTL_RECEIVE_BYTES: Final = 1 << 16  # taken from a socket at once: most answers fit
CTL_MAX_STDIN_BYTES: Final = 64 << 20  # of a value; servers take less, and stdin may be endless
CTL_TCP_PROBE_S: Final = 30  # between two looks whether the server of a watch is still there
CTL_MAX_PEM_BYTES: Final = 1 << 20  # looked at of a certificate or key: a long chain has 100 KiB
CTL_MAX_CONNECT_S: Final = 30  # for one connection where nothing shorter is asked for; etcdctl's
CTL_HEALTH_TIMEOUT_S: Final = 30  # for a member to say how it is; a hung one must not hang the rest

# --- command line, moving data ---------------------------------------------------------
MIRROR_WORKERS: Final = 16  # requests at the same time: they share disk syncs, and disturb nobody
MIRROR_MAX_BACKOFF_S: Final = 5  # between attempts at a target that is away; it is found soon
MIRROR_INDIVIDUAL_TTLS: Final = 64  # more keys with a TTL are read with the whole tree instead
MIRROR_CHECK_SHARE: Final = 10  # the pause after a check, in its durations: a tenth of the time
MIRROR_LATE_S: Final = 10  # a write without an answer happens within etcd's 7 s, or not at all
LOAD_MAX_WORKERS: Final = 1024  # that may be asked for: more wait for each other at the leader
BENCH_MAX_CONNECTIONS: Final = 10_000  # a server takes 16384, one address has 28 000 ports
BENCH_MAX_KEYS: Final = 1_000_000  # a server needs some 400 bytes for each
BENCH_MAX_VALUE_BYTES: Final = 1 << 20  # ten times that is the longest request a server takes
LOAD_ATTEMPTS: Final = 12  # of one imported key: half a minute, in which a cluster elects a leader
