"""Damaged files, a process that reads them, and one that watches it.

`test_fuzz.py` and `benchmarks/fuzz.py` stand on it.
"""
