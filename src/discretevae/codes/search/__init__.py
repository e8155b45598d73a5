"""Search by code, and how good it is."""
