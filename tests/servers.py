"""Servers on loopback: nginx gives ranges of files, as late and unreliable as a test asks for; SeaweedFS is an S3."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CONF = """
daemon off; master_process off; pid nginx.pid; error_log error.log warn;
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    log_format plain '$status $body_bytes_sent $connection $request_uri $http_range';
    access_log access.log plain;
    sendfile on; tcp_nodelay on; keepalive_requests 1000000;
    lua_shared_dict state 1m;
    server {{
        listen 127.0.0.1:{port}{tls};
        root {folder};
        location / {{ access_by_lua_block {{ local state = ngx.shared.state; {lua} }} {more} }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request that the server has answered."""

    status: int
    """HTTP status."""
    nbytes: int
    """Bytes of the body sent."""
    connection: int
    """Number of the connection."""
    uri: str
    """Path and query as they came."""
    range: str
    """The Range header, or -."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeServer:
    """A running nginx."""

    url: str
    """Without a slash at the end."""
    log: Path
    """Its access log."""

    def served(self) -> list[Served]:
        """What it has answered so far, in order."""
        rows = [line.split(" ", 4) for line in self.log.read_text().splitlines()]
        return [
            Served(status=int(status), nbytes=int(nbytes), connection=int(connection), uri=uri, range=ranges)
            for status, nbytes, connection, uri, ranges in rows
        ]


@contextmanager
def nginx(
    folder: Path, state: Path, *, delay_s: float = 0.0, lua: str = "", more: str = "", tls: str = ""
) -> Iterator[RangeServer]:
    """Serve a folder until the block ends.

    Args:
        folder: What is served.
        state: An empty folder for its logs.
        delay_s: Added to every request before the answer begins.
        lua: Run for every request after the delay; `state` is a shared dictionary.
        more: Further directives of the location.
        tls: ` ssl; ssl_certificate …; ssl_certificate_key …`, else plain.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None or not Path("/usr/lib/nginx/modules/ngx_http_lua_module.so").exists():
        pytest.fail("this test reads through nginx: apt-get install nginx-light libnginx-mod-http-lua")
    (state / "tmp").mkdir(parents=True)
    port = free_port()
    sleep = f"ngx.sleep({delay_s});" if delay_s else ""
    conf = CONF.format(port=port, folder=folder, lua=sleep + lua, more=more, tls=tls)
    (state / "nginx.conf").write_text(conf)
    command = [program, "-p", f"{state}/", "-c", "nginx.conf", "-e", "error.log"]
    with _running(command, port, state / "error.log"):
        yield RangeServer(url=f"http{'s' if tls else ''}://127.0.0.1:{port}", log=state / "access.log")


@contextmanager
def seaweed(state: Path, *, key: str, secret: str) -> Iterator[str]:
    """URL of an S3 server that knows one user, until the block ends; putting an object makes its bucket."""
    user = {"name": "tests", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    (state / "s3.json").write_text(json.dumps({"identities": [user]}))
    ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
    command = [
        str(Path(sys.executable).with_name("weed")), "server", f"-dir={state}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-filer", "-s3", f"-s3.config={state / 's3.json'}", *(f"-{name}={port}" for name, port in ports.items()),
        *(f"-{name}.grpc={free_port()}" for name in ports), "-master.volumeSizeLimitMB=64",
    ]  # fmt: skip
    with _running(command, ports["s3.port"], state / "weed.log"):
        yield f"http://127.0.0.1:{ports['s3.port']}"


def free_port() -> int:
    """One that nobody listens at just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    # setpriv: it dies with the tests, even when they are killed.
    with log.open("ab") as out:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=out, stderr=out)
    try:
        for _ in range(1000):
            with socket.socket() as one:
                if process.poll() is not None or one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        if process.poll() is not None:
            pytest.fail(f"{command[0]} ended: {log.read_text()[-2000:]}")
        yield
    finally:
        process.kill()
        process.wait(10)
