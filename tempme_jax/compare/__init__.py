"""Comparisons of methods, and the paper's tables: `tempme compare`."""
