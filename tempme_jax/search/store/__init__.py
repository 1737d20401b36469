"""The tables of an index on disk."""
