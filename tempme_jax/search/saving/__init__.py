"""Save what a search found: moments as mp4 files, as one, or as lists for other programs."""
