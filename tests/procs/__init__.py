"""Tests of `jepsen_like.procs`: does the verdict notice what it is there for?"""
