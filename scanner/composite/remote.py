"""One request for a range of bytes over HTTP, and what an answer that is not those bytes means."""

import email.utils
import os
import re
import ssl
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, NewConnectionError, ResponseError, SSLError
from urllib3.exceptions import TimeoutError as TimedOut

__all__ = ["Client", "RequestError"]

WHOLE_BYTES = 64 * 1024 * 1024
"""From a server that ignores ranges, a file up to this size is taken whole."""

TIMEOUT = urllib3.Timeout(connect=15.0, read=30.0)
_REDIRECTS = urllib3.Retry(
    total=None, connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class RequestError(Exception):
    """A request that did not bring its bytes."""

    def __init__(self, reason: str, *, retry: bool = True, status: int = 0, overload: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry
        """Whether asking again may help."""
        self.status = status
        """HTTP status; 0 where there was none."""
        self.overload = overload
        """Whether asking less may help."""
        self.wait_s: float | None = None
        """What the server asks to wait."""
        self.region: str | None = None
        """The region in which S3 says the bucket is."""


class Client:
    """Persistent connections to every host, shared by threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._pools: dict[str, urllib3.PoolManager] = {}

    def close(self) -> None:
        """Close the connections that are not in use."""
        for pool in self._pools.values():
            pool.clear()

    def get(self, url: str, start: int, stop: int) -> bytes:
        """The bytes of [start, stop) that the file has.

        Raises:
            RequestError: they did not come; it says why, and whether to ask again.
        """
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        try:
            response = self._pool(url).urlopen(
                "GET", url, headers=headers, timeout=TIMEOUT, retries=_REDIRECTS, preload_content=False
            )
        except (HTTPError, LocationParseError, OSError) as error:
            raise _failure(error) from None
        try:
            return _body(response, start, stop)
        except RequestError as error:
            # A refusal has been read to its end, and the connection goes on; of anything else more may come.
            if not error.status:
                response.close()
            raise
        except (HTTPError, OSError) as error:
            response.close()
            raise _failure(error) from None
        finally:
            response.release_conn()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        server = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if server not in self._pools:
                # Asked once a server: the environment's proxies take as long to find as a tenth of a request.
                bypass = urllib.request.proxy_bypass(parts.hostname or "")
                self._pools[server] = self._made("" if bypass else urllib.request.getproxies().get(parts.scheme, ""))
            return self._pools[server]

    def _made(self, proxy: str) -> urllib3.PoolManager:
        bundles = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
        # One context for all connections: reading the authorities costs more than a handshake.
        tls = ssl.create_default_context(cafile=next(filter(None, bundles), DEFAULT_CA_BUNDLE_PATH))
        if proxy:
            return urllib3.ProxyManager(proxy, maxsize=self._most, ssl_context=tls)
        return urllib3.PoolManager(maxsize=self._most, ssl_context=tls)


def _body(response: urllib3.BaseHTTPResponse, start: int, stop: int) -> bytes:
    if response.status == 206:
        return _part(response, start, stop)
    if response.status == 200:
        return _whole(response)[start:stop]
    if response.status == 416:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
        if size.isdecimal() and int(size) > start:
            raise RequestError(f"the server refuses bytes {start} to {stop} of {size}", retry=False)
        response.drain_conn()
        return b""
    raise _refusal(response)


def _part(response: urllib3.BaseHTTPResponse, start: int, stop: int) -> bytes:
    stated = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if stated is None or int(stated[1]) != start or int(stated[2]) >= stop:
        got = response.headers.get("Content-Range", "no Content-Range")
        raise RequestError(f"asked for bytes {start} to {stop - 1}, the server sent {got}", retry=False)
    body = response.read()
    end = int(stated[2]) + 1 if stated[3] == "*" else min(stop, int(stated[3]))
    if len(body) < end - start:
        raise RequestError(f"truncated: {len(body)} of {end - start} bytes came")
    return body


def _whole(response: urllib3.BaseHTTPResponse) -> bytes:
    size = response.headers.get("Content-Length", "")
    if not size.isdecimal() or int(size) > WHOLE_BYTES:
        raise RequestError(
            f"the server ignores ranges and the file has {size or 'an unknown number of'} bytes; at most {WHOLE_BYTES} "
            "are taken whole: serve it with ranges, or copy it here", retry=False,
        )  # fmt: skip
    return response.read()


def _refusal(response: urllib3.BaseHTTPResponse) -> RequestError:
    status = response.status
    text = response.read(16384).decode("utf-8", "replace")
    if response.read(1):
        response.close()
    code = re.search(r"<Code>([^<]{1,60})</Code>", text)
    trouble = RequestError(
        f"HTTP {status} {code[1] if code else response.reason or ''}".rstrip(), status=status,
        retry=status in (408, 429) or status >= 500, overload=status in (408, 429, 503, 504),
    )  # fmt: skip
    trouble.wait_s = _seconds(response.headers.get("Retry-After", ""))
    region = re.search(r"<Region>([a-z0-9-]+)</Region>", text)
    trouble.region = response.headers.get("x-amz-bucket-region") or (region[1] if region else None)
    return trouble


def _seconds(text: str) -> float | None:
    """Of a Retry-After: seconds, or a date."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _failure(error: Exception) -> RequestError:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
    hopeless = isinstance(cause, SSLError | LocationParseError | ResponseError)
    reason = " ".join(str(cause).split())[:200] or type(cause).__name__
    late = isinstance(cause, TimedOut) and not isinstance(cause, NewConnectionError)
    return RequestError(reason, retry=not hopeless, overload=late)
