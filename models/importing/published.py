"""Published weights that are known by their digest: what their files do not say."""

from collections.abc import Mapping
from typing import Any

__all__ = ["PUBLISHED"]

_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B08", "B09", "B10", "B11", "B12")
"""Earth Genome's order: B8A ahead of B08."""

_AMAZON_MINING_WATCH: Mapping[str, Any] = {
    "level": "l1c",
    "scaling": "clip",
    "classes": ("not_mine", "mine"),
    "stride_px": 24,
    "threshold": 0.43,
    "isolation": {"k": 5, "distance_m": 3000.0, "threshold": 0.75},
    "purpose": "small-scale gold mining in the Amazon",
    "licence": "MIT",
}

_SUBJECT = (
    "Trained by Earth Genome for Amazon Mining Watch on the Amazon basin, to find artisanal and small-scale gold "
    "mining (bare scars and ponds along rivers) in medians of Sentinel-2 L1C masked with Cloud Score+. Quarries, large "
    "open pits, other rocks and other climates were not its subject; nothing is known of how it does there. "
)

_RULE = (
    "The threshold of 0.43, and 0.75 for a hit whose fifth neighbour is farther than 3 km, were published for the "
    "ensemble of 2026, which is another set of weights. "
)

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "a55c5eb45c04c18a10056f9cbfb2e14437fecba087d99138862957cce2c12fe3": {
        **_AMAZON_MINING_WATCH,
        "bands": _BANDS,
        "origin": (
            "48px_v4.21-CNN100ka_2026-05-08ep179.h5 of github.com/earthrise-media/mining-detector (Earth Genome, "
            "Amazon Mining Watch)"
        ),
        "limits": (
            f"{_SUBJECT}{_RULE}Its own report is at 0.5, where it misses four mines in ten of one of two test sets."
        ),
        "metrics": {
            "measured_on": "the publisher's own patches, by the publisher, at threshold 0.5; not measured here",
            "threshold": 0.5,
            "sets": {
                "val": {"precision": 0.9057, "recall": 0.8876, "f1": 0.8966, "support": 249},
                "test1": {"precision": 0.878, "recall": 0.5934, "f1": 0.7082, "support": 182},
                "test2": {"precision": 0.9549, "recall": 0.9695, "f1": 0.9621, "support": 131},
            },
            "average_precision": {"val": 0.9536, "test1": 0.8789, "test2": 0.9915},
        },
    },
    "285020775a01db5b8423b10d3bb3d07bff01dc7908a1b341bcd6395e76bacce8": {
        **_AMAZON_MINING_WATCH,
        "bands": tuple(band for band in _BANDS if band != "B10"),
        "origin": (
            "48px_v3.2-3.7ensemble_2024-02-13.h5 of github.com/earthrise-media/mining-detector (Earth Genome, Amazon "
            "Mining Watch): six networks, whose mean is the score"
        ),
        "limits": (
            f"{_SUBJECT}{_RULE}The publisher ran this one at 0.5; of its six members only the last has a published "
            "report, at 0.8. The file does not say its bands: they are in the order of the publisher's code of 2024."
        ),
        "metrics": {
            "measured_on": "the publisher's own patches, by the publisher, member v3.7 alone at threshold 0.8; "
            "not measured here",
            "threshold": 0.8,
            "sets": {"test": {"precision": 0.95, "recall": 0.97, "f1": 0.96, "support": 152}},
        },
    },
}
"""Card fields by the sha256 of the file."""
