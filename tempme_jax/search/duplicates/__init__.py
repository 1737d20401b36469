"""Find videos and moments of an index that show the same."""
