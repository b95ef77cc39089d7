"""Real server processes, killed and paused under load, and a verdict over all they answered.

What the simulator cannot show: the event loop, threads, sockets and the kernel underneath, and
a process that ends between any two instructions. Runs are not repeatable step by step; the seed
repeats the choices of clients and faults only. Whole runs are in `campaign`.

    fleet      the member processes, and where they are    disks     small ones
    web        a client's connection                       changes   members that come and go
    clients    recording clients                           watching  the client's watch, followed
    watchers   every change, as watchers see it            rolling   all replaced, one by one
    verdict    whether all of it can be explained          migrate   from a real etcd to kvraft
"""
