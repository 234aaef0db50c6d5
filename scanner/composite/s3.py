"""Addresses of objects in S3: presigned and paid by the requester where there are credentials, else plain."""

import configparser
import datetime as dt
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import obstore
from obstore.store import S3Store

from scanner.errors import InputError

__all__ = ["Buckets"]

PRESIGNED = dt.timedelta(hours=1)
"""What a presigned address is good for."""


class Buckets:
    """Knows how the environment reaches each bucket. Its owner sees to it that one thread at a time asks."""

    def __init__(self) -> None:
        self._regions: dict[str, str] = {}
        self._stores: dict[str, S3Store] = {}

    def url(self, bucket: str, key: str) -> str:
        """The address of an object.

        Raises:
            InputError: the environment names a profile that has no keys.
            OSError: the credentials cannot be had now.
        """
        if not _has_credentials():
            return f"{self._root(bucket)}/{quote(key)}"
        # Making a store takes 4 ms, signing with it 0.1 ms.
        if bucket not in self._stores:
            self._stores[bucket] = S3Store(bucket, request_payer=True, **self._config(bucket))
        try:
            return str(obstore.sign(self._stores[bucket], "GET", key, PRESIGNED))
        except obstore.exceptions.BaseError as error:
            raise OSError(f"no credentials for s3://{bucket}: {error}") from None

    def refused(self, bucket: str, region: str | None) -> None:
        """An address was refused: credentials are looked up again, in the region that the answer names."""
        self._stores.pop(bucket, None)
        if region is not None:
            self._regions[bucket] = region

    def _root(self, bucket: str) -> str:
        endpoint = _endpoint()
        if endpoint is not None:
            return f"{endpoint.rstrip('/')}/{bucket}"
        host = f"s3.{self._region(bucket)}.amazonaws.com"
        # A bucket with dots in its name has no certificate of its own.
        return f"https://{host}/{bucket}" if "." in bucket else f"https://{bucket}.{host}"

    def _region(self, bucket: str) -> str:
        stated = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return self._regions.get(bucket) or stated or _profile().get("region") or "us-east-1"

    def _config(self, bucket: str) -> dict[str, Any]:
        keys = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
        config: dict[str, Any] = {name: value for name, value in _profile().items() if name in keys}
        config["region"] = self._region(bucket)
        endpoint = _endpoint()
        if endpoint is not None:
            config |= {"endpoint": endpoint, "client_options": {"allow_http": True}}
        return config


def _endpoint() -> str | None:
    """Of a server that is not Amazon's: as its tools name it, or as GDAL does."""
    name = os.environ.get("AWS_S3_ENDPOINT")
    if name and "://" not in name:
        name = f"{'http' if os.environ.get('AWS_HTTPS', '').upper() in ('NO', 'FALSE') else 'https'}://{name}"
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or name


def _has_credentials() -> bool:
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1"):
        return False
    return any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"))


def _profile() -> dict[str, str]:
    """What AWS_PROFILE names in ~/.aws, where the environment has no keys: obstore reads the environment alone."""
    name = os.environ.get("AWS_PROFILE")
    if not name or os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    home = Path.home() / ".aws"
    secrets, settings = configparser.RawConfigParser(), configparser.RawConfigParser()
    secrets.read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    settings.read(os.environ.get("AWS_CONFIG_FILE") or home / "config")
    section = name if name == "default" else f"profile {name}"
    found = dict(settings[section]) if settings.has_section(section) else {}
    found |= dict(secrets[name]) if secrets.has_section(name) else {}
    if not {"aws_access_key_id", "aws_secret_access_key"} <= set(found):
        raise InputError(f"AWS_PROFILE={name}: no aws_access_key_id and aws_secret_access_key of it in ~/.aws")
    return found
