"""Peers of the backtester's kernel: the same reduced job, each in the way that suits the library best."""
