"""What happens to the tokens: one file per method, and the pure merging functions."""
