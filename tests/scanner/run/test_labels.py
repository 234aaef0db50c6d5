"""Label files: which class a code is, and which pixel has it, whichever CRS, zone and kind of file."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from models import ModelCard
from models.units import UNLABELLED, Shares
from scanner.errors import InputError
from scanner.run.labels import Naming, open_labels
from scanner.run.truth import Block, Rules, blocks_of, observed, remembered, truth_of
from tiling import Window, affine_of, lonlat, northing

CLASSES = ("not_mine", "mine")
ZONE = 32633
GROUND = Window(x0=50_000, y0=-560_000, x1=50_060, y1=-559_970)


def naming(given=None, classes=CLASSES, column="class", by=None) -> Naming:
    return Naming(classes=classes, given=given or {}, column=column, by=by)


def write_raster(path, codes, window=GROUND, zone=ZONE, transform=None, crs="zone", **changes):
    profile = {"driver": "GTiff", "count": 1, "dtype": codes.dtype, "height": codes.shape[0], "width": codes.shape[1]}
    profile |= {"transform": transform or affine_of(zone, window), "crs": f"EPSG:{zone}" if crs == "zone" else crs}
    with rasterio.open(path, "w", **(profile | changes)) as target:
        target.write(codes, 1)
    return path


def write_shapes(path, shapes, zone=ZONE, **columns):
    gpd.GeoDataFrame(columns, geometry=shapes, crs=zone).to_file(path)
    return path


def box_of(window: Window, zone=ZONE):
    return shapely.box(window.x0 * 10, northing(zone, window.y1), window.x1 * 10, northing(zone, window.y0))


@pytest.fixture
def codes():
    rng = np.random.default_rng(5)
    return rng.integers(0, 3, GROUND.shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "given", "classes", "expected"),
    [
        (["mine"], {}, CLASSES, {"mine": 1}),
        (["1", "2"], {}, CLASSES, {"1": 0, "2": 1}),
        (["2"], {}, CLASSES, {"2": 1}),
        (["1", "10", "3"], {"10": "mine"}, CLASSES, {"10": 1, "1": 0, "3": 0}),
        (["1", "10", "3"], {"3": "not_mine", "1": "none"}, CLASSES, {"3": 0, "1": UNLABELLED, "10": 1}),
        (["1", "10", "3"], {"10": "mine", "1": "not_mine", "3": "none"}, CLASSES, {"10": 1, "1": 0, "3": UNLABELLED}),
        (["b", "q"], {"b": "field", "q": "quarry"}, ("field", "wood", "quarry"), {"b": 0, "q": 2}),
        (["1", "3"], {}, ("field", "wood", "quarry"), {"1": 0, "3": 2}),
    ],
)
def test_classes_of_codes(tmp_path, values, given, classes, expected):
    found = naming(given, classes).index(values, tmp_path)
    assert {value: found[value] for value in values} == expected


@pytest.mark.parametrize(
    ("values", "given", "classes", "words"),
    [
        (["1"], {}, CLASSES, "holds 1, and the card's classes are not_mine, mine: .*--class 1=mine"),
        (["1", "2", "3"], {}, CLASSES, "holds 1, 2, 3"),
        (["pit"], {}, CLASSES, "holds pit"),
        (["10"], {"10": "pit"}, CLASSES, "--class 'pit' is no class of the card: expected not_mine, mine, none"),
        (["10"], {"7": "mine"}, CLASSES, "--class names 7, and .* holds 10"),
        (["1", "2"], {"1": "quarry"}, ("field", "wood", "quarry"), "holds 2 too: say --class 2=CLASS, or =none"),
        (["1", "2"], {"1": "none"}, CLASSES, "holds 2 too"),
        ([str(code) for code in range(20)], {}, CLASSES, "and 12 more"),
    ],
)
def test_codes_of_no_class(tmp_path, values, given, classes, words):
    with pytest.raises(InputError, match=words):
        naming(given, classes).index(values, tmp_path)


def test_a_raster_on_the_grid_is_read_as_it_is(tmp_path, codes):
    labels = open_labels(write_raster(tmp_path / "a.tif", codes), naming())
    ((zone, window),) = labels.places()
    assert zone == ZONE
    assert window.contains(GROUND)
    classes, regions = labels.read(ZONE, GROUND.buffer(3), 1)
    np.testing.assert_array_equal(classes[3:-3, 3:-3], codes.astype(np.int16) - 1)
    assert (classes[:3] == UNLABELLED).all()
    assert (regions < 0).all()
    finer, _ = labels.read(ZONE, GROUND, 2)
    np.testing.assert_array_equal(finer, (codes.astype(np.int16) - 1).repeat(2, 0).repeat(2, 1))


def test_a_raster_of_finer_pixels_is_read_finer(tmp_path):
    fine = np.random.default_rng(2).integers(1, 3, (60, 120)).astype(np.uint8)
    path = write_raster(
        tmp_path / "a.tif", fine, transform=Affine(5, 0, GROUND.x0 * 10, 0, -5, northing(ZONE, GROUND.y0))
    )
    classes, _ = open_labels(path, naming()).read(ZONE, GROUND, 2)
    np.testing.assert_array_equal(classes, fine.astype(np.int16) - 1)


def test_what_has_no_value_is_not_labelled(tmp_path, codes):
    wide = np.where(codes == 0, -9999.0, codes).astype(np.float32)
    wide[0, 0] = np.nan
    labels = open_labels(write_raster(tmp_path / "a.tif", wide, nodata=-9999), naming())
    assert set(labels.index) == {"1", "2"}
    classes, _ = labels.read(ZONE, GROUND, 1)
    codes[0, 0] = 0
    np.testing.assert_array_equal(classes, codes.astype(np.int16) - 1)


def test_ground_of_another_zone_is_left_to_it(tmp_path):
    """A raster across the meridian of 12 degrees: each of its pixels is labelled in one of the two zones."""
    north = 5_600_000
    window = Window(x0=28_690, y0=-north // 10, x1=28_890, y1=-north // 10 + 40)
    labels = open_labels(write_raster(tmp_path / "a.tif", np.full(window.shape, 2, np.uint8), window), naming())
    places = dict(labels.places())
    assert sorted(places) == [32632, 32633]
    seen = {zone: (labels.read(zone, place, 1)[0] == 1) for zone, place in places.items()}
    assert all(mask.any() for mask in seen.values())
    assert sum(int(mask.sum()) for mask in seen.values()) == pytest.approx(200 * 40, rel=0.02)
    for zone, mask in seen.items():
        rows, columns = np.nonzero(mask)
        place = places[zone]
        lon, _ = lonlat(zone, (place.x0 + columns + 0.5) * 10, northing(zone, place.y0 + rows + 0.5))
        assert (lon < 12).all() if zone == 32632 else (lon >= 12).all()


def test_polygons_cover_pixels_by_their_centre_and_the_last_counts(tmp_path):
    first = Window(x0=50_005, y0=-559_995, x1=50_025, y1=-559_985)
    second = Window(x0=50_020, y0=-559_995, x1=50_030, y1=-559_985)
    path = write_shapes(
        tmp_path / "a.gpkg", [box_of(first), box_of(second)], kind=["mine", "not_mine"], region=["north", "south"]
    )
    labels = open_labels(path, naming(column="kind", by="region"))
    assert labels.regions == ("north", "south")
    assert not labels.points
    classes, regions = labels.read(ZONE, GROUND, 1)
    expected = np.full(GROUND.shape, UNLABELLED)
    expected[first.slices_in(GROUND)], expected[second.slices_in(GROUND)] = 1, 0
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(regions, np.where(expected == UNLABELLED, -1, 1 - expected))
    fine, _ = labels.read(ZONE, GROUND, 4)
    np.testing.assert_array_equal(fine, expected.repeat(4, 0).repeat(4, 1))


def test_points_of_a_table(tmp_path):
    lon, lat = lonlat(ZONE, 500_105.0, northing(ZONE, -559_989.5))
    (tmp_path / "a.csv").write_text(f"lon,lat,class\n{lon},{lat},2\n")
    labels = open_labels(tmp_path / "a.csv", naming())
    assert labels.points
    classes, _ = labels.read(ZONE, GROUND, 1)
    assert list(zip(*np.nonzero(classes == 1), strict=True)) == [(10, 10)]


def test_shapes_of_two_zones_are_read_in_each(tmp_path):
    shapes = [shapely.box(11.99, 50, 12.01, 50.01), shapely.Point(11.9, 50), shapely.Point(12.1, 50)]
    path = write_shapes(tmp_path / "a.geojson", shapes, zone=4326, **{"class": ["mine", "mine", "mine"]})
    labels = open_labels(path, naming())
    assert [zone for zone, _ in labels.places()] == [32632, 32632, 32633, 32633]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path, _: path / "none.tif", "no such file"),
        (lambda path, codes: write_raster(path / "a.tif", codes, crs=None), "has no CRS"),
        (lambda path, codes: write_raster(path / "a.tif", codes * 0), "every pixel is 0, not labelled"),
        (lambda path, _: write_shapes(path / "a.gpkg", [box_of(GROUND)], kind=["x"]), "no column 'class'; .* kind"),
        (
            lambda path, _: write_shapes(path / "a.gpkg", [box_of(GROUND)], **{"class": [None]}),
            "no row has both a geometry and a class",
        ),
    ],
)
def test_files_that_are_no_labels(tmp_path, codes, make, words):
    with pytest.raises(InputError, match=words) as raised:
        open_labels(make(tmp_path, codes), naming())
    assert "\n" not in str(raised.value)


def test_a_raster_has_no_columns(tmp_path, codes):
    with pytest.raises(InputError, match=r"--by region: .* is a raster"):
        open_labels(write_raster(tmp_path / "a.tif", codes), naming(by="region"))


def rules(relax_px=0, **changes) -> Rules:
    values = {
        "name": "drawn", "task": "detector", "mode": "window", "network": "drawn", "level": "l2a", "limits": "",
        "bands": ("B02", "B03", "B04", "B08"), "mean": (0,) * 4, "std": (1,) * 4, "window_px": 12, "stride_px": 6,
        "halo_px": 3, "classes": CLASSES, "licence": "CC0-1.0", "origin": "code",
    }  # fmt: skip
    return Rules(card=ModelCard(**(values | changes)), shares=Shares(), relax_px=relax_px)


def test_blocks_lie_on_the_lattice_and_hold_every_label_once(tmp_path):
    codes = np.zeros((200, 300), np.uint8)
    codes[10:40, 20:50], codes[150:190, 260:300] = 1, 2
    window = Window(x0=50_001, y0=-560_000, x1=50_301, y1=-559_800)
    labels = open_labels(write_raster(tmp_path / "a.tif", codes, window), naming())
    asked = rules()
    blocks = list(blocks_of(labels, asked.card, 60))
    assert len(blocks) > 2
    for block in blocks:
        assert block.core.x0 % 6 == block.core.y0 % 6 == block.core.x1 % 6 == block.core.y1 % 6 == 0
        assert max(block.core.shape) <= 60
    read = [labels.read(block.zone, block.core, 1)[0] for block in blocks]
    assert [sum(int((part == label).sum()) for part in read) for label in (0, 1)] == [30 * 30, 40 * 40]


def test_cells_are_the_same_however_the_ground_is_cut(tmp_path):
    codes = np.random.default_rng(1).integers(0, 3, (20, 30)).repeat(6, 0).repeat(6, 1).astype(np.uint8)
    window = Window(x0=50_003, y0=-560_000, x1=50_183, y1=-559_880)
    labels = open_labels(write_raster(tmp_path / "a.tif", codes, window), naming())
    asked = rules()
    found = []
    for edge in (36, 600):
        parts = [truth_of(labels, block, asked) for block in blocks_of(labels, asked.card, edge)]
        classes = np.concatenate([part.classes.ravel() for part in parts])
        doubts = sum(int(part.left_out.sum()) for part in parts)
        found.append((*np.unique(classes[classes != UNLABELLED], return_counts=True)[1].tolist(), doubts))
    assert found[0] == found[1]


def test_a_point_speaks_for_its_cell(tmp_path):
    path = write_shapes(
        tmp_path / "a.gpkg", [shapely.Point(500_105, 5_600_025), shapely.Point(500_205, 5_600_025)],
        **{"class": ["mine", "not_mine"]},
    )  # fmt: skip
    labels = open_labels(path, naming())
    (block,) = blocks_of(labels, rules().card, 600)
    truth = truth_of(labels, block, rules())
    assert sorted(truth.classes[truth.classes != UNLABELLED].tolist()) == [0, 1]
    assert not truth.left_out.any()


def test_edges_are_looked_for_beyond_a_block(tmp_path):
    codes = np.ones((24, 24), np.uint8)
    codes[:, 12:] = 2
    window = Window(x0=50_004, y0=-560_004, x1=50_028, y1=-559_980)
    labels = open_labels(write_raster(tmp_path / "a.tif", codes, window), naming())
    asked = rules(relax_px=2, output="pixels")
    core = Window(x0=50_010, y0=-560_004, x1=50_016, y1=-559_980)
    doubtful = truth_of(labels, Block(zone=ZONE, core=core), asked).doubtful
    np.testing.assert_array_equal(doubtful, np.tile(np.arange(50_010, 50_016) >= 50_014, (24, 1)))


def test_memory_answers_for_cells_with_little_of_the_target(tmp_path):
    codes = np.ones((6, 12), np.uint8)
    codes[0, 0] = 2
    codes[:, 6:] = 2
    window = Window(x0=50_004, y0=-560_004, x1=50_016, y1=-559_998)
    labels = open_labels(write_raster(tmp_path / "a.tif", codes, window), naming())
    block = Block(zone=ZONE, core=window)
    np.testing.assert_array_equal(truth_of(labels, block, rules()).classes, [[UNLABELLED, 1]])
    np.testing.assert_array_equal(remembered([labels], block, rules()), [[0, 1]])
    assert remembered([], block, rules()) is None


def test_a_pixel_is_observed_in_every_band():
    card = rules(output="pixels", finer=2).card
    stored = np.ones((4, 12, 12), np.uint16)
    stored[2, 4, 5] = 0
    seen = observed(stored, card)
    assert seen.shape == (12, 12)
    assert list(zip(*np.nonzero(~seen), strict=True)) == [(2, 4), (2, 5), (3, 4), (3, 5)]
