"""Tone-map high dynamic range (PQ, HLG) to what a standard-range player shows.

Light is measured in units of diffuse white: 203 cd/m2 in PQ, a signal of 75 % in HLG (ITU-R
BT.2408). Up to KNEE it is kept as it is, so what a standard-range camera would have recorded keeps
its colours; brighter light is compressed below the white of the screen, alike in red, green and
blue, so its hue stays. The mapping does not depend on the other pixels or frames.
"""

import functools

import numpy as np
from jaxtyping import Float, UInt8, UInt16

# Codes of ITU-T H.273, as in `VideoFrame.color_trc` and `VideoFrame.color_primaries`.
PQ, HLG = 16, 18
BT709, P3_DCI, P3_D65 = 1, 11, 12

# Light relative to diffuse white up to which nothing is changed.
KNEE = 0.8
# Rows that are mapped at once, so that the intermediate arrays stay in the caches.
ROWS = 32

# From linear light in the primaries of the video to those of BT.709 and sRGB.
_FROM_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
_FROM_P3 = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
_MATRICES = {BT709: np.eye(3), P3_DCI: _FROM_P3, P3_D65: _FROM_P3}


def map_to_standard_range(
    signal: UInt16[np.ndarray, "h w 3"], transfer: int, primaries: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels that a standard-range player shows.

    Args:
        signal: red, green and blue as they are coded, 65535 for a signal of 100 %.
        transfer: PQ or HLG.
        primaries: code of the primaries in H.273; other than BT.709's and P3's are read as BT.2020.
    """
    light, codes, gains = _tabulate_light(transfer), _tabulate_codes(), _tabulate_gains()
    matrix = _MATRICES.get(primaries, _FROM_BT2020).T.astype(np.float32)
    pixels = np.empty(signal.shape, np.uint8)
    for top in range(0, len(signal), ROWS):
        linear = light[signal[top : top + ROWS]] @ matrix
        np.maximum(linear, 0, out=linear)
        brightest = np.maximum(np.maximum(linear[..., 0], linear[..., 1]), linear[..., 2])
        # Roots spread the entries of a table evenly over what the eye tells apart.
        gain = gains[np.minimum(np.sqrt(brightest) * _GAIN_STEPS, len(gains) - 1).astype(np.intp)]
        linear *= gain[..., None]
        index = np.minimum(np.sqrt(linear) * (len(codes) - 1) + 0.5, len(codes) - 1)
        pixels[top : top + ROWS] = codes[index.astype(np.uint16)]
    return pixels


@functools.cache
def _tabulate_light(transfer: int) -> Float[np.ndarray, "65536"]:
    """Return the light, relative to diffuse white, of every 16-bit signal."""
    signal = np.linspace(0, 1, 65536)
    if transfer == PQ:  # ITU-R BT.2100: 10,000 cd/m2 at a signal of 100 %
        root = signal ** (1 / 78.84375)
        light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
        light = light ** (1 / 0.1593017578125) * 10000 / 203
    else:
        # ITU-R BT.2100. The screen's gamma, 1.2 + 0.42 log10(peak / 1000 cd/m2), is 1 for a peak of
        # 334 cd/m2: about that of a screen which shows diffuse white as standard range does.
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12) / 0.265
    return light.astype(np.float32)


# Steps of the table of gains for each unit of the root of light; the brightest signal has root 7.
_GAIN_STEPS = 4096


@functools.cache
def _tabulate_gains() -> Float[np.ndarray, "32768"]:
    """Return the factor for each brightness, the largest of red, green and blue, by its root."""
    light = (np.arange(8 * _GAIN_STEPS) / _GAIN_STEPS) ** 2
    over = np.maximum(light - KNEE, 0)
    mapped = KNEE + (1 - KNEE) * over / (over + 1 - KNEE)
    return np.where(light > KNEE, mapped / np.maximum(light, KNEE), 1).astype(np.float32)


@functools.cache
def _tabulate_codes() -> UInt8[np.ndarray, "4096"]:
    """Return the 8-bit codes of light from 0 to 1, by its root, for a screen of gamma 2.2."""
    return np.round(255 * np.linspace(0, 1, 4096) ** (2 / 2.2)).astype(np.uint8)
