"""The adapters, which say what a method learns: one file for each."""
