"""Candidates that hold everything that is awkward to write."""

import dataclasses

import pytest
import shapely

from scanner.detection.hits import Hit, Provenance, Registered
from scanner.detection.join import join

AWKWARD = 'Mina "São João", <b>A&B</b>; 砂\x01'


def square(name, lon, lat, score, **others):
    shape = shapely.box(lon - 0.002, lat - 0.001, lon + 0.002, lat + 0.001)
    days = {"first_scene": "2021-06-01", "last_scene": "2021-08-30", "scenes": ("S2A_X", "S2B_Y")}
    defaults = {"clear_looks": 6, "verdict": "accepted", "polygon": shape, **days}
    return Hit(cell=name, tile="32633-005-058", lon=lon, lat=lat, score=score, **{**defaults, **others})


@pytest.fixture(scope="session")
def joined():
    """High, low and unknown impact; one with a hole, one on the antimeridian; and a rejected hit."""
    high = {"impact_high": 0.7, "impact_low": 0.2, "no_ore": 0.1}
    low = {"impact_high": 0.2, "impact_low": 0.7, "no_ore": 0.1}
    holed = shapely.box(15.5, 48.5, 15.504, 48.502) - shapely.box(15.501, 48.5005, 15.502, 48.501)
    belt = shapely.Polygon([(179.998, -17), (-179.998, -17), (-179.998, -16.998), (179.998, -16.998)])
    return join(
        [
            square("b", 15.502, 48.501, 0.91, polygon=holed, **high),
            square("a", 10.0, 48.0, 0.8125, **low),
            square("c", 180.0, -16.999, 0.7, polygon=belt),
            square("d", 20.0, 48.0, 0.66, verdict="no_ore", **low),
        ],
        provenance=Provenance(detector_sha256="d" * 64, threshold=0.6),
    )


@pytest.fixture(scope="session")
def candidates(joined):
    """Three, each with its place in a registry that has an awkward name and awkward entries."""
    places = (("inside", AWKWARD, 0.0), ("near", "=1+1", 512.34), ("outside", "", float("nan")))
    return tuple(
        dataclasses.replace(one, registries={"permits & <more>": Registered(where=where, name=name, distance_m=metres)})
        for one, (where, name, metres) in zip(joined[0], places, strict=True)
    )


@pytest.fixture(scope="session")
def cells(joined):
    return joined[1]
