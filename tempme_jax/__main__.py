"""`python -m tempme_jax` is the command `tempme`."""

from tempme_jax.cli import main

if __name__ == "__main__":
    main(prog_name="tempme")
