"""torch.export archives without anything in them that runs: what is left of a .pt2 file once that is gone, or refused.

`torch.export.load` of torch 2.13 trusts its file: it unpickles sample inputs and what is marked `use_pickle`, executes
`guards_code`, and evaluates shape expressions as Python. So an archive is read here as a zip of JSON and raw numbers,
checked against short lists of what may be there, and made anew: torch loads what was checked, and nothing else.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from models.card import CARD_FILE, CardError

__all__ = ["card_in", "plain_archive"]

_KEPT = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/weights/(model_weights_config\.json|weight_\d+)|data/constants/(model_constants_config\.json|tensor_\d+)"
)
_SAMPLES = "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_PLAIN = re.compile(r"[\w.+-]*", re.ASCII)
_RANGE = re.compile(r"[\w.+*/() -]*", re.ASCII)
_SHAPE = re.compile(
    r"(\b(Add|Mul|Integer|Symbol|FloorDiv|CleanDiv|Mod|PythonMod|Max|Min|True|False|positive|nonnegative|integer|[su]\d+)\b"
    r"|'[su]\d+'|[-+*/(),=\d\s])*",
    re.ASCII,
)
_TARGET = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+(\.\w+)?|torch\.sym_(max|min|int|float|not)|math\.(ceil|floor|trunc)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge)",
    re.ASCII,
)
_SPECS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def plain_archive(path: Path, card: str | None = None) -> io.BytesIO:
    """The archive at `path`, checked and made anew without samples, guards, traces and extra files.

    Args:
        path: what `torch.export.save` wrote.
        card: JSON of a card to put into it.

    Raises:
        CardError: not a whole torch.export archive; pickles, compiled code or anything else that is not an ATen
            operator on tensors. One line.
    """
    records = _records(path)
    if "models/model.json" not in records or not set(_CONFIGS) <= set(records):
        raise CardError(f"{path} is not an archive of torch.export.save (torch 2.8 or later): save the program again")
    for name in _CONFIGS:
        _check_payload(path, _json(path, name, records[name]))
    program = _json(path, "models/model.json", records["models/model.json"])
    program["guards_code"] = []
    for node in _nodes(program):
        node["metadata"] = {}
    _check(path, program)
    records["models/model.json"] = json.dumps(program).encode()
    extra = {} if card is None else {f"extra/{CARD_FILE}": card.encode()}
    return _written(records | extra | {_SAMPLES: b""})


def card_in(path: Path) -> Mapping[str, Any] | None:
    """The fields of the card that `minescan models export` put into an archive; None where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name for name in archive.namelist() if name.partition("/")[2] == f"extra/{CARD_FILE}"]
            values = json.loads(archive.read(found[0])) if found else None
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError, RuntimeError) as error:
        raise CardError(f"{path} is not a whole torch.export archive: {error}") from error
    return values if isinstance(values, dict) else None


def _records(path: Path) -> dict[str, bytes]:
    """What the archive holds, by name without its root folder; what is dropped unread left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                inner = name.partition("/")[2]
                if not (_KEPT.fullmatch(inner) or inner == _SAMPLES or inner.startswith("extra/")):
                    _refuse_record(path, inner or name)
            if len(set(names)) < len(names):
                raise CardError(f"{path} holds records of one name twice")
            inner_names = {name.partition("/")[2]: name for name in names}
            return {inner: archive.read(name) for inner, name in inner_names.items() if _KEPT.fullmatch(inner)}
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise CardError(f"{path} is not a whole torch.export archive: {error}") from error


def _refuse_record(path: Path, name: str) -> NoReturn:
    if name.endswith((".pkl", ".pt")):
        raise CardError(
            f"{path} holds a pickle ({name}), which can run anything when opened: save the weights as safetensors, "
            "or the program with torch.export.save of torch 2.8 or later"
        )
    raise CardError(f"{path} holds {name}, which no plain torch.export program has: export it again")


def _json(path: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CardError(f"{path}: {name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CardError(f"{path}: {name} is not a JSON object")
    return values


def _check_payload(path: Path, config: Mapping[str, Any]) -> None:
    entries = config.get("config")
    for name, entry in entries.items() if isinstance(entries, dict) else [("config", None)]:
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise CardError(f"{path}: {name} is kept as a pickle, which can run anything when opened; it is not read")
        if not re.fullmatch(r"(weight|tensor)_\d+", str(entry.get("path_name"))):
            raise CardError(f"{path}: {name} is kept as {entry.get('path_name')!r}, expected raw numbers")


def _nodes(program: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of the graph and of graphs inside it."""
    stack: list[Any] = [program]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if "target" in value and "metadata" in value:
                yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _check(path: Path, program: Mapping[str, Any]) -> None:
    """Names, operators and shapes alone; nothing that Python would look up or evaluate."""
    for key, value in _strings(program, ""):
        if key == "target" and not _TARGET.fullmatch(value):
            raise CardError(f"{path} calls {value}, which is none of the ATen operators that a program may use")
        if key in ("in_spec", "out_spec"):
            good = _is_plain_spec(value)
        elif key == "range":
            good = bool(_RANGE.fullmatch(value))
        else:
            good = bool((_SHAPE if key == "expr_str" else _PLAIN).fullmatch(value))
        if not good or (key == "key" and value in ("as_operator", "as_custom_obj", "as_graph")):
            raise CardError(f"{path} holds {value[:60]!r} as {key}, which no plain program has")
    for node in _nodes(program):
        if any(
            item.get("name") in ("train", "training") and item["arg"] == {"as_bool": True} for item in node["inputs"]
        ):
            raise CardError(f"{path} was exported while training ({node['target']}): call eval() on the module first")


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every string with the key that it stands under; keys too, those of range_constraints as `range`."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield ("range" if key == "range_constraints" else "key"), name
            yield from _strings(item, name)


def _is_plain_spec(text: str) -> bool:
    """A tree of tuples, lists and dicts with plain keys; other types would be looked up and imported."""
    try:
        version, spec = json.loads(text)
    except (ValueError, TypeError):
        return False
    stack = [spec]
    while stack:
        node = stack.pop()
        if not isinstance(node, dict) or set(node) != {"type", "context", "children_spec"}:
            return False
        context = node["context"] or ""
        if node["type"] not in _SPECS or not isinstance(context, str) or re.search(r"[{}]", context):
            return False
        stack.extend(node["children_spec"])
    return bool(version == 1)


def _written(records: Mapping[str, bytes]) -> io.BytesIO:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for name, content in records.items():
            out.writestr(f"model/{name}", content)
    archive.seek(0)
    return archive
