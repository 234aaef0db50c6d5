import json

import numpy as np
import pytest
import rasterio
import shapely
from shapely.geometry import shape

from scanner.demo.clouds import days
from scanner.demo.ground import make_ground
from scanner.demo.region import Region, tiles_of
from scanner.demo.render import clear_view
from scanner.demo.sites import RegionSpec, plant
from scanner.demo.spectra import BANDS
from scanner.demo.truth import edges_of, impact_points, labels, outlines
from tiling import Window, lonlat, northing, pixel_at, utm

BLUE, RED, NIR = (BANDS.index(name) for name in ("B02", "B04", "B08"))


def _truth(region: Region) -> list[dict]:
    return json.loads(region.truth.read_text())["features"]


def test_truth_holds_every_site_with_its_edges(region: Region) -> None:
    rows = _truth(region)
    assert [row["id"] for row in rows] == [site.id for site in region.sites]
    assert {row["properties"]["kind"] for row in rows} == {"high", "low", "decoy"}
    first = rows[0]["properties"]
    assert first["on_edge"] == "cell,tile,tile_corner,zone"
    assert sum(row["properties"]["always_cloud"] for row in rows) == 1


def test_first_four_mines_lie_where_it_bites() -> None:
    ground = make_ground(3, RegionSpec(size_px=1200, decoys=0))
    first = [set(edges_of(outline)) for outline in outlines(ground)[:4]]
    assert {"tile_corner", "zone"} <= first[0]
    assert "zone" in first[1]
    assert "tile" in first[2]
    assert "tile" in first[3]


def test_mines_stand_apart_and_inside_the_searched_area() -> None:
    spec = RegionSpec()
    for seed in range(8):
        mines = [site for site in plant(seed, spec) if site.kind != "decoy"]
        assert len(mines) == 12
        assert {site.kind for site in mines} == {"high", "low"}
        for index, site in enumerate(mines):
            assert abs(site.u_m) + site.radius_m <= spec.half_width_m
            assert abs(site.v_m) + site.radius_m <= spec.half_height_m
            for other in mines[:index]:
                gap = np.hypot(site.u_m - other.u_m, site.v_m - other.v_m) - site.radius_m - other.radius_m
                assert gap > 1000


def test_labels_are_the_mines_of_the_truth(region: Region) -> None:
    mines = shapely.union_all([shape(r["geometry"]) for r in _truth(region) if r["properties"]["kind"] != "decoy"])
    for tile in region.tiles:
        window = tile.window
        label = labels(region.ground, tile.zone, window)
        assert label.shape == window.shape
        x, y = np.meshgrid(np.arange(window.x0, window.x1, 3), np.arange(window.y0, window.y1, 3))
        inside = shapely.contains_xy(mines, *lonlat(tile.zone, x * 10.0 + 5, northing(tile.zone, y + 0.5)))
        assert label.sum() > 1000
        # A pixel is sampled at the nearest of a raster turned by a degree: outlines may differ by a pixel.
        assert ((label[::3, ::3] == 1) != inside).sum() <= 0.12 * inside.sum()


def test_impact_points_lie_in_what_they_name(region: Region) -> None:
    points = impact_points(region.ground, seed=1)
    assert points == impact_points(region.ground, seed=1)
    assert {point.label for point in points} == {"high_impact", "low_impact", "no_ore"}
    places = {kind: shapely.union_all([shape(r["geometry"]) for r in _truth(region) if r["properties"]["kind"] == kind])
              for kind in ("high", "low", "decoy")}  # fmt: skip
    mines = places["high"] | places["low"]
    for point in points:
        here = shapely.Point(point.lon, point.lat).buffer(1e-7)
        if point.label == "no_ore":
            assert not here.within(mines)
        else:
            assert here.intersects(places[point.label.removesuffix("_impact")])


def test_spectra_lie_where_truth_says(region: Region) -> None:
    """Mines are brighter than plain ground in the visible, clean ponds darker in the near infrared than anything."""
    spec, ground = region.spec, region.ground
    tile = region.tiles[1]
    view = clear_view(ground, tile.zone, tile.window, days(region.seed, spec))
    site = ground.sites_in(tile.zone, tile.window)
    mine = labels(ground, tile.zone, tile.window) == 1
    assert np.median(view[RED][mine]) > 1.3 * np.median(view[RED][site == 0])
    water = np.isin(site, [i + 1 for i, s in enumerate(ground.sites) if s.what in {"pond", "lake"}])
    assert water.sum() > 20
    assert np.median(view[NIR][water]) < 0.05 < np.median(view[NIR][mine])


def test_clear_view_is_the_median_of_the_clear_looks(region: Region) -> None:
    tile = region.tiles[0]
    looks = []
    for item in json.loads(region.items.read_text())["features"]:
        if item["properties"]["proj:epsg"] != tile.zone:
            continue
        folder = region.folder / item["id"]
        with rasterio.open(folder / "B04.tif") as band, rasterio.open(folder / "SCL.tif") as mask:
            dn, scl = band.read(1).astype(float), mask.read(1).repeat(2, 0).repeat(2, 1)
        offset = item["assets"]["red"]["raster:bands"][0]["offset"]
        looks.append(np.where(np.isin(scl, (4, 5, 6)), dn * 1e-4 + offset, np.nan))
    looks = np.stack(looks)
    known = np.isfinite(looks).all(axis=0)
    assert known.sum() > 1000
    view = clear_view(region.ground, tile.zone, tile.window, days(region.seed, region.spec))[RED]
    assert np.median(np.abs(np.median(looks[:, known], axis=0) - view[known])) < 0.006


def test_two_zones_see_one_ground() -> None:
    spec = RegionSpec(size_px=384, dates=2, mines=1, decoys=0, cloud_called=0)
    west, east = tiles_of(spec)
    ground = make_ground(1, spec)
    lon, lat = shapely.get_coordinates(shapely.convex_hull(outlines(ground)[0])).T
    # The first mine lies where both granules reach: each counts its ground whole, in pixels of its own zone.
    painted = (ground.site == 1).sum()
    for tile in (west, east):
        e, n = utm(tile.zone, lon, lat)
        (x0, y0), (x1, y1) = pixel_at(tile.zone, e.min(), n.max()), pixel_at(tile.zone, e.max(), n.min())
        reach = Window(x0=x0, y0=y0, x1=x1 + 1, y1=y1 + 1).buffer(3)
        assert labels(ground, tile.zone, reach).sum() == pytest.approx(painted, rel=0.01)
