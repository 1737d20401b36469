"""Strict arithmetic for every test: no silent broadcast, no silent dtype, no low precision."""

import gc
import importlib.metadata
import os
import signal

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests neither read nor fill the user's cache.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
# XLA's older way to emit loops compiles three times as fast, and less of LLVM a fifth faster; also
# in processes that tests start.
# A flag that it does not know ends the process, so that it is given to versions that were tried.
KNOWN = importlib.metadata.version("jaxlib").startswith("0.10.")
FASTER = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true"
)
FASTER = FASTER if KNOWN else ""
# Without spaces at the ends: newer versions take " " for the name of a file.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FASTER}".strip()

import jax  # noqa: E402

# A shell starts what runs in the background with SIGINT ignored, and processes that tests start and
# interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What JAX has traced and compiled stays, and is no garbage: to look through it often takes a tenth
# of the time.
gc.set_threshold(200_000, 50, 1000)

jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Tiny models run once or twice: compiling them well costs more than it saves.
jax.config.update("jax_disable_most_optimizations", True)
