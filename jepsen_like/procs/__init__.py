"""Real server processes, killed and paused under load; `check` judges all they answered.

What the simulator cannot show: the event loop, threads, sockets and the kernel underneath, and
a process that ends between any two instructions. Runs are not repeatable step by step; the seed
repeats the choices of clients and faults only. Whole runs are in `campaign`.

    fleet      the member processes, and where they are    disks     small ones
    web        a client's connection                       changes   members that come and go
    clients    recording clients                           watching  the client's watch, followed
    watchers   every change, as watchers see it            rolling   all replaced, one by one
    tasks      the end of background tasks                  migrate   from a real etcd to kvraft
"""
