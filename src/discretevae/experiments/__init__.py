"""Whole experiments: a run, another prior for it, a comparison, the paper."""
