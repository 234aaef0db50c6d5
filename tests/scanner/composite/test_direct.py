"""The direct reader gives what rasterio gives, for every way in which a file may be packed and laid out."""

import datetime as dt
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.shutil import copy as rasterio_copy
from rasterio.windows import Window as RasterWindow
from shapely.geometry import box

from scanner.composite.inflate import STATE_NBYTES, Stream
from scanner.composite.read import Reader
from scanner.composite.strips import Strips
from scanner.composite.tiff import layout_of
from scanner.errors import AssetError
from scanner.types import Asset, Scene
from tiling import Window


def scene_of(path: Path) -> Scene:
    return Scene(
        id="one", collection="made", level="l2a", time=dt.datetime(2021, 1, 1, tzinfo=dt.UTC), platform="", look="x",
        tile="", baseline="", version="", cloud_cover=None, epsg=None, footprint=box(0, 0, 1, 1),
        assets={"B02": Asset(href=str(path), gsd_m=10)},
    )  # fmt: skip


def write(path: Path, pixels: np.ndarray, **profile: object) -> None:
    whole = {
        "driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype,
        "crs": "EPSG:32633", "transform": Affine(10, 0, 600_000, 0, -10, 5_700_000),
    } | profile  # fmt: skip
    with rasterio.open(path, "w", **whole) as out:
        out.write(pixels, 1)


def is_direct(path: Path) -> bool:
    data = path.read_bytes()
    return layout_of(lambda start, stop: data[start:stop]) is not None


def texture(rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> np.ndarray:
    walk = np.cumsum(rng.integers(-9, 10, shape), axis=1) + rng.integers(0, 70_000)
    return walk.astype(dtype)


def drawn_file(folder: Path, data: st.DataObject) -> tuple[Path, np.ndarray]:
    """A file of any layout, and its pixels."""
    shape = (data.draw(st.integers(1, 150)), data.draw(st.integers(1, 150)))
    dtype = data.draw(st.sampled_from(["uint16", "uint8"]))
    pixels = texture(np.random.default_rng(data.draw(st.integers(0, 999))), shape, dtype)
    packing = data.draw(st.sampled_from(["deflate", "lzw", "zstd", "none"]))
    profile: dict[str, object] = {"compress": packing, "BIGTIFF": data.draw(st.sampled_from(["YES", "NO"]))}
    if packing != "none":
        profile["predictor"] = data.draw(st.sampled_from([1, 2]))
    if data.draw(st.booleans()):
        profile |= {"tiled": True, "blockxsize": data.draw(st.sampled_from([16, 64])), "blockysize": 32}
    else:
        profile |= {"blockysize": data.draw(st.integers(1, shape[0]))}
    path = folder / "file.tif"
    write(path, pixels, **profile)
    assert is_direct(path)
    return path, pixels


def drawn_window(shape: tuple[int, int], data: st.DataObject) -> Window:
    x0, y0 = data.draw(st.integers(0, shape[1] - 1)), data.draw(st.integers(0, shape[0] - 1))
    return Window(
        x0=x0, y0=y0, x1=data.draw(st.integers(x0 + 1, shape[1])), y1=data.draw(st.integers(y0 + 1, shape[0]))
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_layout_gives_rasterios_pixels(tmp_path: Path, data: st.DataObject) -> None:
    path, pixels = drawn_file(tmp_path, data)
    window = drawn_window(pixels.shape, data)
    reader = Reader()
    try:
        with reader.session():
            got = reader.read(scene_of(path), "B02", window)
    finally:
        reader.close()
    np.testing.assert_array_equal(got, pixels[window.y0 : window.y1, window.x0 : window.x1])
    assert got.dtype == pixels.dtype


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_strips_give_the_pixels_of_the_whole(tmp_path: Path, data: st.DataObject) -> None:
    """In any steps, with gaps between them, some rows twice, and room for any number of inflaters."""
    path, pixels = drawn_file(tmp_path, data)
    whole, scene = drawn_window(pixels.shape, data), scene_of(path)
    edges = sorted(data.draw(st.sets(st.integers(whole.y0 + 1, whole.y1), min_size=1, max_size=9)) | {whole.y0})
    room, reader, refused = data.draw(st.integers(0, 5)) * STATE_NBYTES, Reader(), {}
    out = np.empty(whole.width_px * whole.height_px * 2, np.uint8)
    with reader.session(), Strips(reader, whole, refused, most_nbytes=room) as strips:
        for top, bottom in pairwise(edges):
            if data.draw(st.sampled_from([True, True, True, False])):
                strip = Window(x0=whole.x0, y0=top, x1=whole.x1, y1=bottom)
                for _ in range(data.draw(st.integers(1, 2))):
                    got = strips.read(scene, "B02", whole, strip, out)
                    np.testing.assert_array_equal(got, pixels[top:bottom, whole.x0 : whole.x1])
        assert strips.finish()
    reader.close()
    assert not refused


def test_a_block_is_inflated_once_however_many_strips(tmp_path: Path) -> None:
    path = tmp_path / "file.tif"
    pixels = texture(np.random.default_rng(3), (256, 256), "uint16")
    write(path, pixels, compress="deflate", predictor=2, tiled=True, blockxsize=64, blockysize=128)
    whole = Window(x0=30, y0=20, x1=256, y1=256)
    for room, times in ((4, 1), (0, 8)):
        reader = Reader()
        with reader.session(), Strips(reader, whole, {}, most_nbytes=room * STATE_NBYTES) as strips:
            for top in range(0, 256, 16):
                part = Window(x0=0, y0=top, x1=256, y1=top + 16).intersect(whole)
                if part:
                    strips.read(scene_of(path), "B02", whole, part, np.empty(part.width_px * 32, np.uint8))
        reader.close()
        # The first strip of sixteen rows lies above the window.
        expected = pixels.nbytes * times - (pixels.nbytes // 2 if times > 1 else 0)
        assert reader.counters.nbytes_decoded == expected


@pytest.mark.parametrize("change", ["checksum", "cut", "bits", "short", "long"])
def test_a_stream_is_as_strict_as_a_block(change: str) -> None:
    data = np.cumsum(np.random.default_rng(4).integers(0, 9, 100_000)).astype(np.uint8).tobytes()
    packed = bytearray(zlib.compress(data))
    if change == "checksum":
        packed[-1] ^= 1
    elif change == "cut":
        del packed[-1000:]
    elif change == "bits":
        packed[len(packed) // 2] ^= 255
    nbytes = len(data) + {"short": 10, "long": -10}.get(change, 0)
    stream = Stream(lambda start, stop: memoryview(packed)[start:stop], len(packed), nbytes)
    with pytest.raises(ValueError, match="inflate"):
        stream.finish()


@pytest.mark.parametrize(
    ("dtype", "profile"),
    [
        ("int16", {"compress": "deflate", "predictor": 2}),
        ("uint16", {"compress": "deflate", "predictor": 2, "ENDIANNESS": "BIG"}),
        ("uint16", {"compress": "lzma"}),
        ("uint16", {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}),
        ("uint16", {"crs": "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84"}),
    ],
)
def test_gdal_reads_what_the_direct_reader_does_not_know(tmp_path: Path, dtype: str, profile: dict[str, str]) -> None:
    pixels = texture(np.random.default_rng(0), (130, 140), dtype) % 5000
    path = tmp_path / ("file.jp2" if profile.get("driver") else "file.tif")
    write(path, pixels, **profile)
    assert not is_direct(path)
    reader = Reader()
    with reader.session():
        got = reader.read(scene_of(path), "B02", Window(x0=3, y0=5, x1=99, y1=130))
    reader.close()
    np.testing.assert_array_equal(got, np.maximum(pixels, 0)[5:130, 3:99])


def test_blocks_left_out_hold_nodata(tmp_path: Path) -> None:
    path = tmp_path / "file.tif"
    profile = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate", "sparse_ok": True, "nodata": 7}
    write(path, np.full((64, 64), 7, np.uint16), **profile)
    with rasterio.open(path, "r+") as file:
        file.write(np.full((32, 32), 9, np.uint16), 1, window=RasterWindow(32, 32, 32, 32))
    reader = Reader()
    with reader.session():
        got = reader.read(scene_of(path), "B02", Window(x0=0, y0=0, x1=64, y1=64))
    reader.close()
    assert is_direct(path)
    assert (got[:32] == 7).all()
    assert (got[32:, 32:] == 9).all()


def test_overviews_are_read_as_gdal_reads_them(tmp_path: Path) -> None:
    path, plain = tmp_path / "cog.tif", tmp_path / "plain.tif"
    pixels = texture(np.random.default_rng(1), (1024, 1024), "uint16") % 9000
    write(plain, pixels)
    rasterio_copy(plain, path, driver="COG", compress="DEFLATE", predictor=2, blocksize=128)
    assert is_direct(path)
    reader, scene = Reader(), scene_of(path)
    with reader.session(), rasterio.open(path) as file:
        assert reader.grid(scene, "B02").overviews == tuple(file.overviews(1))
        for factor in file.overviews(1):
            got = reader.read_mean(scene, "B02", Window(x0=0, y0=0, x1=1024, y1=512), factor)
            expected = file.read(1, window=RasterWindow(0, 0, 1024, 512), out_shape=(512 // factor, 1024 // factor))
            np.testing.assert_array_equal(got, expected)
    reader.close()


@pytest.mark.parametrize("packing", ["deflate", "lzw", "zstd"])
def test_spoilt_bytes_are_a_fault(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "file.tif"
    write(path, texture(np.random.default_rng(2), (256, 256), "uint16"), compress=packing, predictor=2)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    reader = Reader()
    with reader.session(), pytest.raises(AssetError, match=r"inflate|ends at byte"):
        reader.read(scene_of(path), "B02", Window(x0=0, y0=0, x1=256, y1=256))
    reader.close()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"]))
def test_any_bytes_are_a_layout_or_none(tail: bytes, head: bytes) -> None:
    data = head + tail
    assert layout_of(lambda start, stop: data[start:stop]) is None
