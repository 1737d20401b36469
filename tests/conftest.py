"""Strict arithmetic for every test: no silent broadcast, no silent dtype, no low precision."""

import gc
import importlib.metadata
import os
import signal

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests neither read nor fill the user's cache.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
# XLA's older way to emit loops compiles three times as fast, less of LLVM a fifth faster, a program
# in one part instead of 32, without hints for optimisations, a fifth again; also in processes that
# tests start.
# A flag that it does not know ends the process, so that it is given to versions that were tried.
KNOWN = importlib.metadata.version("jaxlib").startswith("0.10.")
FASTER = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1 "
    "--xla_llvm_enable_alias_scope_metadata=false --xla_llvm_enable_noalias_metadata=false "
    "--xla_llvm_enable_invariant_load_metadata=false"
)
FASTER = FASTER if KNOWN else ""
# Without spaces at the ends: newer versions take " " for the name of a file.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FASTER}".strip()

import jax  # noqa: E402
import pytest  # noqa: E402

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


def pytest_collection_finish():
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def keep_what_a_file_leaves():
    """It is looked through once, when the file is done.

    Else every `gc.collect()` of the package would take seconds in a process that ran many files.
    """
    yield
    gc.collect(1)
    gc.freeze()


@pytest.fixture(autouse=True)
def stay_an_ordinary_thread():
    """Undo what libsvtav1, the encoder of AV1, does where root runs it.

    It makes the thread that calls it a real-time one, for good. Two processes of tests that never
    yield their processors can make a machine of two stand still.
    """
    yield
    if hasattr(os, "SCHED_FIFO") and os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
