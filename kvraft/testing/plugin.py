"""The fixtures that pytest finds by itself where kvraft is installed.

It is imported with every run of pytest, also of projects that do not use it: nothing of kvraft but
its name may be imported before a fixture is asked for.
"""
