"""Real server processes, killed and paused under load, and a verdict over all they answered.

What the simulator cannot show: the event loop, threads, sockets and the kernel underneath, and
a process that ends between any two instructions. Runs are not repeatable step by step; the seed
repeats the choices of clients and nemesis only.

    web        a client's connection              nemesis    who is killed or paused, and when
    clients    writers, and what they were told   verdict    whether all of it can be explained
    watchers   every change, as watchers see it   crash      one run from start to verdict
"""
