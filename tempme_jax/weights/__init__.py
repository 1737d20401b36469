"""Files of weights: finding, reading, writing and converting them."""
