"""Networks by the name that cards use. Importing this package imports no torch; `build` does."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FCN", "IMPACT", "NETWORKS", "build"]

FCN = "balaniuk-fcn"
IMPACT = "balaniuk-impact"
NETWORKS = (FCN, IMPACT)


def build(network: str, *, bands: int, classes: int) -> "nn.Module":
    """A freshly drawn network of that name; ValueError names the ones there are."""
    if network == FCN:
        from models.networks.fcn import Fcn  # noqa: PLC0415

        return Fcn(bands, classes)
    if network == IMPACT:
        from models.networks.impact import ImpactCnn  # noqa: PLC0415

        return ImpactCnn(bands, classes)
    raise ValueError(f"no network {network!r}, expected one of: {', '.join(NETWORKS)}")
