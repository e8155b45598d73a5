"""One setting of the C library's memory allocator that saves page faults in every step."""

from __future__ import annotations

import ctypes
import functools
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP = 512 * 2**20
_LARGEST_FROM_HEAP = 32 * 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Asks glibc to keep up to 512 MB of freed memory for the next allocation.

    A training step frees and takes again the same few megabyte-sized buffers. By default glibc
    gives such buffers back to the system at once, and the system clears every page anew at the
    next step. Called once by `discretevae.training.train`; other C libraries are left alone.

    Returns:
        Whether the setting was made.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP) and mallopt(_M_TRIM_THRESHOLD, _KEEP)
    return bool(kept)


__all__ = ["keep_freed_memory"]
