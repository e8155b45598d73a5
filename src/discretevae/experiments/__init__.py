"""Whole experiments: a run, another prior for it, a sweep, a comparison, the paper."""
