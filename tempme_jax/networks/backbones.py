"""The backbones by name: one row for each, with its network."""

from typing import Any

from tempme_jax.checks import require_one_of
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.network import Network
from tempme_jax.networks.siglip import Siglip, Siglip2
from tempme_jax.networks.umt import Umt, UmtAnswers

BACKBONES: dict[str, type[Network]] = {
    "clip": Clip, "umt": Umt, "umt-qa": UmtAnswers, "siglip": Siglip, "siglip2": Siglip2,
}  # fmt: skip


def make_network(arch: Architecture, *parts: Any, **options: Any) -> Network:
    """Return the network of an architecture; the other arguments are those of `Network`."""
    require_one_of(arch.backbone, BACKBONES, "backbone")
    return BACKBONES[arch.backbone](arch, *parts, **options)
