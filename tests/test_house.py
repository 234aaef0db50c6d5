"""What holds of the whole: quick to start, whole as a wheel, honest about what it needs."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("scanner", "tiling", "models", "deploy")
HEAVY = ("torch", "numba", "distributed", "dask", "geopandas", "rasterio", "pandas", "xarray", "zarr", "scipy")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _names(requirements: list[str]) -> set[str]:
    return {_canonical(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in requirements}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("module", ["scanner.cli", "scanner", "models", "deploy.clusters"])
def test_nothing_heavy_is_imported_to_answer_help(module: str):
    code = f"import {module}, sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_help_names_the_commands():
    done = subprocess.run(
        [sys.executable, "-c", "from scanner.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert {"scan", "plan", "status", "export", "train", "models", "doctor", "demo"} <= set(done.stdout.split())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names inside the wheel of what git knows, built with the tools at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, folder / "source"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(file).namelist())


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_says_it_is_typed(wheel: set[str], package: str):
    assert f"{package}/py.typed" in wheel


def test_wheel_holds_every_module_and_card(wheel: set[str]):
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], capture_output=True, text=True, check=True, cwd=ROOT)
    wanted = {name for name in tracked.stdout.split() if name.endswith((".py", "card.json", ".safetensors"))}
    assert {name for name in wanted if (ROOT / name).is_file()} <= wheel


def test_wheel_holds_no_tests_and_the_licence(wheel: set[str]):
    tops = {name.split("/")[0] for name in wheel}
    assert tops - {top for top in tops if top.endswith(".dist-info")} == set(PACKAGES)
    assert any(name.endswith("LICENSE") for name in wheel)


def _imported(folder: str) -> set[str]:
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    ours = {file.stem for file in (ROOT / "tests").rglob("*.py")} | {*PACKAGES, "tests"}
    return found - set(sys.stdlib_module_names) - ours


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_what_is_imported_is_declared(folder: str):
    extras = PROJECT["project"]["optional-dependencies"]
    allowed = _names(PROJECT["project"]["dependencies"] + [line for lines in extras.values() for line in lines])
    if folder != "tests":
        others = [line for name, lines in extras.items() if name != "dev" for line in lines]
        allowed -= _names(extras["dev"]) - _names(PROJECT["project"]["dependencies"] + others)
    sources = packages_distributions()
    undeclared = {
        module
        for module in _imported(folder)
        if not {_canonical(name) for name in sources.get(module, [module])} & allowed
    }
    assert undeclared == set()


def test_every_requirement_is_pinned():
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = _names(PROJECT["project"]["dependencies"] + [line for lines in extras.values() for line in lines])
    assert wanted - set(_pins()) == _names(extras["cuda"])


def test_pins_are_exact_and_carry_no_build():
    assert _pins()["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in _pins().values())


def test_packages_are_listed_one_by_one():
    here = {
        str(file.parent.relative_to(ROOT)).replace("/", ".")
        for name in PACKAGES
        for file in (ROOT / name).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == here
