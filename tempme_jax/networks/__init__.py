"""The networks that turn frames and texts into vectors, and the parts they share."""
