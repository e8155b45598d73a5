"""Stores of rows: in memory, sparse, on disk, streamed; and their order in an epoch."""
