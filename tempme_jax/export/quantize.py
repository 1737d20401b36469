"""Turn the matrix products of an ONNX file into int8."""

import logging
from pathlib import Path

from tempme_jax.export.runtime import require_package


def quantize(source: Path, target: Path) -> None:
    """Write an ONNX file whose products with constant matrices are of 8-bit whole numbers.

    A constant matrix is rounded once, with a scale for each column; what it is multiplied by is
    rounded at run time, with a scale for the whole array. So there is nothing to calibrate.

    Weights are signed, which is twice as fast as unsigned on CPUs with VNNI. Those without it add
    pairs in 16 bits, which may overflow, unless a session is told not to; see
    `runtime.open_session`.

    Raises:
        MissingRuntimeError: if ONNX Runtime or onnx is not installed.
    """
    require_package("onnx")
    quantization = require_package("onnxruntime.quantization")
    advice = logging.getLogger()  # which it gives to everybody: to prepare the graph first
    before, _ = advice.level, advice.setLevel(logging.ERROR)
    try:
        quantization.quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        advice.setLevel(before)
