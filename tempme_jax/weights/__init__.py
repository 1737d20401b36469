"""Files of weights: their layouts, where they are found, and how they are converted."""
