"""A toy CLIP, its parameters and batches, for tests of training."""

import flax.traverse_util
import numpy as np
from random_weights import make_random_tree

from tempme_jax import methods
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip

TOY = Architecture(
    embed_dim=8, image_size=16, patch=8, width=16, depth=1, heads=2,
    text_width=16, text_depth=1, text_heads=2, vocab_size=50, context_length=8,
)  # fmt: skip
FRAMES = 4
OPTIONS = {
    "tempme": {"rank": 2, "r": 1, "layers": (0,), "groups": (2,)},
    "full": {},
}


def make_network(method, **options):
    return Clip(TOY, *methods.build(method, TOY, FRAMES, OPTIONS[method]), **options)


def make_batch(rows=8, seed=0):
    """Return random videos and texts; some of the frames are padding."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 48, (rows, 6)).astype(np.int32)
    ids[:, 4], ids[:, 5] = 49, 0
    return {
        "frames": rng.integers(0, 256, (rows, FRAMES, 16, 16, 3), dtype=np.uint8),
        "frame_mask": np.arange(FRAMES) < rng.integers(2, FRAMES + 1, (rows, 1)),
        "ids": ids,
        "text_mask": np.broadcast_to(np.arange(6) < 5, (rows, 6)),
        "place": np.arange(rows, dtype=np.int32),
    }


def make_params(network, num_frames=FRAMES):
    """Return parameters that give different videos different vectors, as training does."""
    flat = flax.traverse_util.flatten_dict(make_random_tree(network, num_frames, scale=0.6))
    shared = ("bias", "class_embedding", "position_embedding")
    flat = {path: 0.1 * a if path[-1] in shared else a for path, a in flat.items()}
    return flax.traverse_util.unflatten_dict(flat)
