"""Campaigns on real processes: every fault on fresh clusters, with a verdict on each.

ground     what a fault acts on, and what is noted about it
settle     the end of a stage: all members up, and showing the same
figures    availability, gaps and latencies, out of a history
verdicts   all checkers and workloads on one stage, each with its answer
trial      one fault on one cluster, from the first start to the last answer
stages     a trial as a result: run, judged, kept or thrown away
plan       which stages there are, in which order, and how long each may take
runner     all stages, with what a person sees meanwhile
command    the words of the command line
"""
