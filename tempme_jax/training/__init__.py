"""Training and evaluation: `python -m tempme_jax.main --config=...`."""
