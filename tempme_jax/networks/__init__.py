"""The networks: frames and texts to vectors. CLIP, and the block, attention and tokens it is made of."""
