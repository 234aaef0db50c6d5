"""Where a file's bytes are asked for: local paths, HTTP addresses, and those that must be signed first."""

import datetime as dt
import threading
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from scanner.composite.s3 import Buckets
from scanner.errors import InputError

__all__ = ["Addresses", "Place"]

KEPT_S = 600.0
"""A signed address without an expiry of its own is used this long."""

MARGIN_S = 60.0
"""A signed address is not used for a request in the last minute of its life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A file, wherever it is."""

    href: str
    """Local path, file://, http(s)://, s3://bucket/key, /vsicurl/URL or /vsis3/bucket/key."""
    signer: Literal["planetary_computer"] | None = None
    """Who signs the address when it is read."""

    @property
    def is_remote(self) -> bool:
        """Whether reading it goes over a network."""
        return self.href.startswith(("http://", "https://", "s3://", "/vsicurl/", "/vsis3/"))

    @property
    def path(self) -> str:
        """Of a local file."""
        return self.href.removeprefix("file://")

    @property
    def object(self) -> tuple[str, str] | None:
        """Bucket and key in S3; None elsewhere."""
        for prefix in ("s3://", "/vsis3/"):
            if self.href.startswith(prefix):
                bucket, _, key = self.href.removeprefix(prefix).partition("/")
                return bucket, key
        return None

    @property
    def is_signed(self) -> bool:
        """Whether its address is made when it is read, and made again when it is refused."""
        return self.signer is not None or self.object is not None

    @property
    def host(self) -> str:
        """Whose load it adds to: the server, or the bucket."""
        return f"s3://{self.object[0]}" if self.object else urlsplit(self.href.removeprefix("/vsicurl/")).netloc


class Addresses:
    """Gives the URL at which a remote place is read now; signed ones are kept while they are good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Place, tuple[str, float]] = {}
        self._buckets = Buckets()

    def url(self, place: Place) -> str:
        """The URL to ask, signed where it must be.

        Raises:
            InputError: the package or the credentials that sign it are not there.
            OSError: it could not be signed now.
        """
        if not place.is_signed:
            return place.href.removeprefix("/vsicurl/")
        # One at a time: the first asks for a container's token, and the rest find it.
        with self._lock:
            url, until_s = self._kept.get(place, ("", 0.0))
            if time.time() >= until_s:
                url = self._buckets.url(*place.object) if place.object else _by_planetary_computer(place.href)
                self._kept[place] = (url, _good_until(url))
            return url

    def refused(self, place: Place, url: str, region: str | None) -> None:
        """Forget a signed address that was refused; S3 says in which region the bucket is."""
        with self._lock:
            if self._kept.get(place, ("", 0.0))[0] != url:
                return
            del self._kept[place]
            if place.object:
                self._buckets.refused(place.object[0], region)
            else:
                _forget_tokens()


def _good_until(url: str) -> float:
    """Unix seconds; Azure's `se` is the end of a signature's life, S3's addresses are made for an hour."""
    now_s = time.time()
    query = parse_qs(urlsplit(url).query)
    if "X-Amz-Expires" in query:
        return now_s + float(query["X-Amz-Expires"][0]) - MARGIN_S
    try:
        expiry = dt.datetime.fromisoformat(query["se"][0])
    except (KeyError, ValueError):
        return now_s + KEPT_S
    return (expiry if expiry.tzinfo else expiry.replace(tzinfo=dt.UTC)).timestamp() - MARGIN_S


def _by_planetary_computer(href: str) -> str:
    try:
        import planetary_computer  # noqa: PLC0415
    except ImportError:
        raise InputError(
            f"{href}: its address must be signed by the package planetary-computer, which is not installed; "
            "pip install planetary-computer"
        ) from None
    try:
        return str(planetary_computer.sign(href.removeprefix("/vsicurl/")))
    except ValueError as error:
        raise OSError(f"the signing service gave no token: {error}") from None


def _forget_tokens() -> None:
    """The package would hand out the refused token until a minute before it expires."""
    import planetary_computer  # noqa: PLC0415

    planetary_computer.sas.TOKEN_CACHE.clear()
