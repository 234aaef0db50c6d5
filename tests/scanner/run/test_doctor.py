import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from scanner.run.doctor import Finding, examine, show


class _Catalogue(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1" else 404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_args: object):
        pass


@pytest.fixture
def catalogue() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Catalogue) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_machine_is_told(catalogue: str, tmp_path: Path):
    found = _by_name(examine(f"{catalogue}/v1", tmp_path))
    assert {"cores", "memory", "GPU", "disk", "models", "zarrs", "L1C"} <= set(found)
    assert found["catalogue"].ok
    assert "LIBKML" in found["GDAL vectors"].text
    assert "JP2OpenJPEG" in found["GDAL rasters"].text
    assert all(found[name].ok for name in ("GDAL vectors", "GDAL rasters", "zarrs"))
    assert str(tmp_path) in found["disk"].text
    assert "requester-pays" in found["L1C"].text


def test_catalogue_that_refuses_is_not_called_a_lack_of_network(catalogue: str):
    finding = _by_name(examine(f"{catalogue}/v2"))["catalogue"]
    assert not finding.ok
    assert "(404)" in finding.text
    assert "no network" not in finding.text


def test_no_network_is_said():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    finding = _by_name(examine(url))["catalogue"]
    assert not finding.ok
    assert finding.text == f"no network: {url} cannot be reached (connection refused)"
    assert "--catalog" in finding.advice


@pytest.mark.parametrize("catalog", ["ftp://example.com/v1", "nowhere.json"])
def test_what_is_no_catalogue_is_a_finding(catalog: str):
    finding = _by_name(examine(catalog))["catalogue"]
    assert not finding.ok
    assert catalog in finding.text


def test_folder_that_is_not_there_is_a_finding(tmp_path: Path):
    assert not _by_name(examine("nowhere.json", tmp_path / "none"))["disk"].ok


def test_every_word_is_printed():
    out = io.StringIO()
    findings = (
        Finding(name="GPU", ok=True, text="none [here]"),
        Finding(name="disk", ok=False, text="0 GiB", advice="Buy one."),
    )
    show(findings, Console(file=out, width=80))
    first, second, third = out.getvalue().splitlines()
    assert first.split() == ["GPU", "ok", "none", "[here]"]
    assert second.split() == ["disk", "missing", "0", "GiB"]
    assert third.strip() == "Buy one."
