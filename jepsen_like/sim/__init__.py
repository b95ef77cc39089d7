"""A whole cluster in one thread, its time, network, disks and chances drawn from one seed.

What runs inside is the production code: consensus core, storage, store and replica. Only
the edges are replaced: `net` for the peer connections, `disk` for the file system, `clock`
for the two clocks of a machine, `workload` for the clients. The same seed gives the same run,
step for step, in any process; a failure is therefore a number.

    world      time and the order of events      net, disk, clock   the faulty environment
    cluster    members as thin shells            nemesis, operator  who does what, and when
    actor      does it, and notes it             faults             what can be done, and how often
    workload   clients and their answers
    run        one seed from start to verdict    many, __main__     many seeds
    trace      what an onlooker is told, and a recorder of it
    timeline   a recorded run as text            page        and as HTML with a time slider
    scenario   a run as a short file             shrink      from a failing run to such a file
"""
