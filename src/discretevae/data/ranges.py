"""The values that a likelihood can take."""

from __future__ import annotations

from math import prod

from discretevae.data.rows import Rows
from discretevae.errors import DataError, count


def require_unit_interval(rows: Rows) -> None:
    """Refuse values that no Bernoulli likelihood can take (`DataError`)."""
    bounds = rows.bounds
    if bounds is not None and bounds[0] >= 0 and bounds[1] <= rows.divisor:
        return
    outside, low, high = rows.range_facts
    if outside:
        divided = "" if rows.divisor == 1 else f", divided by {rows.divisor:g},"
        raise DataError(
            f"{rows.name}: {count(outside, 'value')} of {prod(rows.values.shape):,}{divided} "
            f"outside [0, 1]; all range from {low / rows.divisor:g} to "
            f"{high / rows.divisor:g}. "
            + (
                "Rescale them to [0, 1], or use `likelihood='gaussian'`."
                if rows.scale is None
                else "The training rows were scaled to [0, 1], and others may lie beyond them. Use "
                "`likelihood='gaussian:learned'`."
            )
        )


def require_counts(rows: Rows) -> None:
    """Refuse values that are not whole numbers from 0 on; one is named (`DataError`)."""
    wrong, example = rows.not_counts
    if wrong:
        raise DataError(
            f"{rows.name}: {count(wrong, 'value')} of {prod(rows.values.shape):,} no counts, such "
            f"as {example / rows.divisor:g}. Give 0, 1, 2, … as they are, with `scale='none'`, or "
            "use `likelihood='gaussian:learned'`."
        )


def require_bytes(rows: Rows) -> None:
    """Refuse values that are not k/255 for k = 0 … 255, which 8-bit likelihoods need.

    Bytes with the divisor 255 and binarized values are known to be so; everything else is
    looked at once.

    Raises:
        DataError: some x is not; one of them is named.

    Example:
        >>> require_bytes(Rows.from_array([[0, 255], [51, 7]]))
        >>> require_bytes(Rows.from_array([[0.0, 0.5]], name="mine"))
        Traceback (most recent call last):
        ...
        discretevae.errors.DataError: mine: 1 value of 2 not k/255 for k = 0 to 255, such as \
0.5. Give whole numbers from 0 to 255, or use `likelihood='continuous-bernoulli'`.
    """
    if not rows.are_bytes:
        wrong, example = rows.not_bytes
        x = example / rows.divisor
        other = "continuous-bernoulli" if 0 <= x <= 1 else "gaussian"
        raise DataError(
            f"{rows.name}: {count(wrong, 'value')} of {prod(rows.values.shape):,} not k/255 "
            f"for k = 0 to 255, such as {x:g}. Give whole numbers from 0 to 255, or use "
            f"`likelihood={other!r}`."
        )
