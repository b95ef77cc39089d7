"""Proxy mode: a process that is no member and hands requests to those that are."""
