"""The paper again, from one command, with the package's own defaults beside it."""
