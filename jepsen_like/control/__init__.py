"""The same work under the same faults on a real etcd and on kvraft, side by side.

A harness that finds nothing proves something only if it can be seen to find what is known to be
there. Plain reads are local on both servers, and may be stale: read on purpose while a member is
stopped or cut off, they have to be found by the search for linearizability, and to be in order
all the same where no more than that is promised.

    stale      writes, and plain reads at every member       trial      one fault on one server
    command    `python -m jepsen_like control`, the table
"""
