"""What a block keeps of its forward pass for the backward pass; the rest is computed again.

Kept are its two residual streams, its queries, keys and values, the wide array inside its MLP, and
where tokens merged. All else follows from them by layer norms, activations and the attention inside
a clip, which is a hundredth of the arithmetic but half of the memory: most of all the weights of an
attention, of which there are as many as pairs of tokens, in float32.
"""

import jax
from jax.ad_checkpoint import checkpoint_name

NAME = "kept"
# A policy of `jax.checkpoint`.
KEEP_NAMED = jax.checkpoint_policies.save_only_these_names(NAME)


def keep(array: jax.Array) -> jax.Array:
    """Return the array, marked as one that a block keeps for the backward pass."""
    return checkpoint_name(array, NAME)
