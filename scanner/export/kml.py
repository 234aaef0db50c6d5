"""Candidates as KML 2.2: one placemark each, red, yellow or grey, that tells its columns when clicked."""

import html
import math
import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

__all__ = ["kml_bytes"]

NAMESPACE = "http://www.opengis.net/kml/2.2"
COLOURS = {"high": "0000ff", "low": "00ffff", "unknown": "a0a0a0"}
"""By impact: blue, green, red, as KML writes them."""

ICON = "http://maps.google.com/mapfiles/kml/shapes/placemark_circle.png"
"""White, so that a colour shows; KML's default pushpin is yellow already."""

_UNSPEAKABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def kml_bytes(frame: gpd.GeoDataFrame, *, title: str = "Candidate mines") -> bytes:
    """The frame of candidates as a KML document, valid against OGC KML 2.2.

    A placemark holds the point (`lon`, `lat`) and the polygon; all columns are typed ExtendedData, shown as a table in
    its balloon. There are no folders: GDAL would read each as a layer of its own.
    """
    root = ET.Element("kml", xmlns=NAMESPACE)
    document = ET.SubElement(root, "Document")
    _text(document, "name", title)
    names = [str(name) for name in frame.columns if name != frame.geometry.name]
    balloon = _balloon(names)
    for impact, colour in COLOURS.items():
        _style(document, impact, colour, balloon)
    schema = ET.SubElement(document, "Schema", name="minescan", id="minescan")
    for name in names:
        ET.SubElement(schema, "SimpleField", type=_kind(frame[name].dtype.kind), name=_speakable(name))
    columns = {name: frame[name].astype(object).tolist() for name in names}
    for number, shape in enumerate(frame.geometry):
        _placemark(document, {name: columns[name][number] for name in names}, shape)
    ET.indent(root, " ")
    return bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"


def _kind(kind: str) -> str:
    return {"f": "double", "i": "int", "b": "bool"}.get(kind, "string")


def _speakable(text: str) -> str:
    return _UNSPEAKABLE.sub("\ufffd", text)


def _text(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = _speakable(text)


def _style(document: ET.Element, impact: str, colour: str, balloon: str) -> None:
    style = ET.SubElement(document, "Style", id=impact)
    icon = ET.SubElement(style, "IconStyle")
    _text(icon, "color", f"ff{colour}")
    _text(ET.SubElement(icon, "Icon"), "href", ICON)
    _text(ET.SubElement(style, "LabelStyle"), "scale", "0.7")
    line = ET.SubElement(style, "LineStyle")
    _text(line, "color", f"ff{colour}")
    _text(line, "width", "2")
    _text(ET.SubElement(style, "PolyStyle"), "color", f"50{colour}")
    _text(ET.SubElement(style, "BalloonStyle"), "text", balloon)


def _balloon(names: Iterable[str]) -> str:
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>$[minescan/{html.escape(name)}]</td></tr>" for name in names)
    return f"<h3>$[name]</h3><table border='0' cellpadding='2'>{rows}</table>"


def _placemark(document: ET.Element, row: dict[str, Any], shape: BaseGeometry) -> None:
    placemark = ET.SubElement(document, "Placemark", id=_speakable(str(row["id"])))
    _text(placemark, "name", str(row["id"]))
    ET.SubElement(placemark, "Snippet", maxLines="0")
    _text(placemark, "styleUrl", f"#{row['impact'] if row['impact'] in COLOURS else 'unknown'}")
    data = ET.SubElement(ET.SubElement(placemark, "ExtendedData"), "SchemaData", schemaUrl="#minescan")
    for name, value in row.items():
        if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            ET.SubElement(data, "SimpleData", name=_speakable(name)).text = _speakable(_value(value))
    geometry = ET.SubElement(placemark, "MultiGeometry")
    _text(ET.SubElement(geometry, "Point"), "coordinates", f"{row['lon']:.6f},{row['lat']:.6f}")
    for part in shapely.get_parts(shape):
        _polygon(geometry, part)


def _value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "1" if value else "0"
    return repr(float(value)) if isinstance(value, float) else str(value)


def _polygon(geometry: ET.Element, part: BaseGeometry) -> None:
    polygon = ET.SubElement(geometry, "Polygon")
    for tag, rings in (("outerBoundaryIs", [part.exterior]), ("innerBoundaryIs", part.interiors)):
        for ring in rings:
            corners = " ".join(f"{lon:.8f},{lat:.8f}" for lon, lat in shapely.get_coordinates(ring))
            _text(ET.SubElement(ET.SubElement(polygon, tag), "LinearRing"), "coordinates", corners)
