"""What clients do while things break, and what has to come out of it.

workload   the shape of a workload and of what it is given
"""
