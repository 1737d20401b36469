"""The reducers, which merge or drop tokens: one file for each, and the pure merging functions."""
