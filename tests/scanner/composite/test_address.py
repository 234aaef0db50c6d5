"""Addresses signed at read time: by planetary-computer's own package, and for a real S3 server on loopback."""

import sys
import warnings

import obstore
import pytest
from obstore.store import S3Store
from servers import seaweed

from scanner.composite.fetch import Fetcher, FetchError, Place
from scanner.composite.s3 import Buckets
from scanner.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pydantic's, about its version 3
    import planetary_computer

CONTENT = bytes(range(256)) * 1000
KEY, SECRET = "minescan", "of-the-tests"


@pytest.fixture
def fetcher():
    one = Fetcher()
    yield one
    one.close()


@pytest.fixture
def planetary(tmp_path, range_server, monkeypatch):
    """The signing service and the storage behind one proxy: `planetary(life_s, good)`; tokens are counted from 1.

    A file is given to requests signed with token `good` or a later one.
    """
    (tmp_path / "files" / "container").mkdir(parents=True)
    (tmp_path / "files" / "container" / "a b.tif").write_bytes(CONTENT)

    def start(*, life_s=3600, good=1):
        server = range_server(
            tmp_path / "files",
            lua=f"""
            if ngx.var.uri:find("^/token/") then
                local expiry = os.date("!%Y-%m-%dT%H:%M:%SZ", ngx.time() + {life_s})
                local token = "se=" .. ngx.escape_uri(expiry) .. "&sig=a%2Bb&n=" .. state:incr("tokens", 1, 0)
                ngx.header["Content-Type"] = "application/json"
                ngx.say('{{"msft:expiry":"' .. expiry .. '","token":"' .. token .. '"}}')
                return ngx.exit(200)
            end
            if ngx.var.arg_sig ~= "a%2Bb" or tonumber(ngx.var.arg_n) < {good} then return ngx.exit(403) end""",
        )
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", server.url)
        return server

    monkeypatch.setenv("PC_SDK_SAS_URL", "http://signing.invalid/token")
    planetary_computer.settings.Settings.get.cache_clear()
    planetary_computer.sas.TOKEN_CACHE.clear()
    yield start
    planetary_computer.settings.Settings.get.cache_clear()
    planetary_computer.sas.TOKEN_CACHE.clear()


PLACE = Place(href="http://account.blob.core.windows.net/container/a%20b.tif", signer="planetary_computer")


def tokens(server):
    return sum("/token/" in one.uri for one in server.served())


def test_one_token_signs_for_all_threads(planetary, fetcher):
    server = planetary()
    waiting = [fetcher.submit(PLACE, [(at, at + 9)]) for at in range(200)]
    assert [one.result(30) for one in waiting] == [[CONTENT[at : at + 9]] for at in range(200)]
    assert tokens(server) == 1


def test_what_is_about_to_expire_is_signed_anew(planetary, fetcher):
    server = planetary(life_s=30)
    for _ in range(3):
        assert fetcher.get(PLACE, [(0, 9)]) == [CONTENT[:9]]
    assert tokens(server) == 3


def test_a_refused_signature_is_made_again_once(planetary, fetcher):
    server = planetary(good=2)
    far = [(0, 9), (200_000, 200_009)]
    assert fetcher.get(PLACE, far) == [CONTENT[start:stop] for start, stop in far]
    assert tokens(server) == 2


def test_a_signature_that_stays_refused_is_an_error(planetary, fetcher):
    server = planetary(good=9)
    with pytest.raises(FetchError, match=r"a%20b\.tif: HTTP 403 Forbidden, 2 times$") as caught:
        fetcher.get(PLACE, [(0, 9)])
    assert not caught.value.missing
    assert tokens(server) == 2


def test_without_the_package_it_says_what_to_install(fetcher, monkeypatch):
    monkeypatch.setitem(sys.modules, "planetary_computer", None)
    with pytest.raises(InputError, match="must be signed by the package planetary-computer, which is not installed"):
        fetcher.get(PLACE, [(0, 9)])


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """URL of a server that holds s3://scenes/a/b c+d.tif."""
    with seaweed(tmp_path_factory.mktemp("s3"), key=KEY, secret=SECRET) as url:
        store = S3Store(
            "scenes", endpoint=url, access_key_id=KEY, secret_access_key=SECRET, client_options={"allow_http": True}
        )
        obstore.put(store, "a/b c+d.tif", CONTENT)
        yield url


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """An environment that says nothing about AWS; gives a function that says something."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "S3_ENDPOINT", "WEB_IDENTITY_TOKEN_FILE", "NO_SIGN_REQUEST"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    def say(**names):
        for name, value in names.items():
            monkeypatch.setenv(f"AWS_{name}", value)

    return say


@pytest.mark.parametrize("href", ["s3://scenes/a/b c+d.tif", "/vsis3/scenes/a/b c+d.tif"])
@pytest.mark.parametrize("by_profile", [False, True])
def test_objects_are_read_with_the_credentials_of_the_environment(href, by_profile, s3, aws, fetcher, tmp_path):
    aws(ENDPOINT_URL=s3)
    if by_profile:
        (tmp_path / "credentials").write_text(f"[mine]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
        (tmp_path / "config").write_text("[profile mine]\nregion=eu-central-1\n")
        aws(PROFILE="mine")
    else:
        aws(ACCESS_KEY_ID=KEY, SECRET_ACCESS_KEY=SECRET)
    ranges = [(0, 9), (200_000, 200_009), (255_990, 256_100)]
    assert fetcher.get(Place(href=href), ranges) == [CONTENT[start:stop] for start, stop in ranges]
    with pytest.raises(FetchError, match="HTTP 404 NoSuchKey") as caught:
        fetcher.get(Place(href="s3://scenes/none.tif"), [(0, 9)])
    assert caught.value.missing


@pytest.mark.parametrize(
    ("secret", "reason"), [("wrong", "HTTP 403 SignatureDoesNotMatch"), (None, "HTTP 403 AccessDenied")]
)
def test_who_may_not_read_is_told_so(secret, reason, s3, aws, fetcher):
    aws(S3_ENDPOINT=s3.removeprefix("http://"), HTTPS="NO")
    if secret is not None:
        aws(ACCESS_KEY_ID=KEY, SECRET_ACCESS_KEY=secret)
    with pytest.raises(FetchError, match=reason) as caught:
        fetcher.get(Place(href="s3://scenes/a/b c+d.tif"), [(0, 9)])
    assert not caught.value.missing


def test_a_profile_without_keys_is_refused(aws, fetcher):
    aws(PROFILE="nobody")
    with pytest.raises(InputError, match="AWS_PROFILE=nobody: no aws_access_key_id"):
        fetcher.get(Place(href="s3://scenes/a.tif"), [(0, 9)])


@pytest.mark.parametrize("status", [301, 400])
def test_the_region_that_s3_names_is_used(status, aws, fetcher, tmp_path, range_server):
    (tmp_path / "files" / "scenes").mkdir(parents=True)
    (tmp_path / "files" / "scenes" / "a.tif").write_bytes(CONTENT)
    header = 'ngx.header["x-amz-bucket-region"] = "eu-central-1";' if status == 301 else ""
    body = 'ngx.say("<Error><Code>Malformed</Code><Region>eu-central-1</Region></Error>")'
    wrong = f"ngx.status = {status}; {header} {body} return ngx.exit(200)"
    server = range_server(
        tmp_path / "files", lua=f'if not ngx.var.args:find("eu%-central%-1", 1, false) then {wrong} end'
    )
    aws(ENDPOINT_URL=server.url, ACCESS_KEY_ID=KEY, SECRET_ACCESS_KEY=SECRET)
    for _ in range(2):
        assert fetcher.get(Place(href="s3://scenes/a.tif"), [(0, 9)]) == [CONTENT[:9]]
    assert [one.status for one in server.served()] == [status, 206, 206]
    assert "x-amz-request-payer=requester" in server.served()[0].uri


def test_without_credentials_addresses_are_plain(aws):
    assert Buckets().url("scenes", "a/b c.tif") == "https://scenes.s3.us-east-1.amazonaws.com/a/b%20c.tif"
    aws(REGION="us-west-2")
    assert Buckets().url("my.scenes", "a.tif") == "https://s3.us-west-2.amazonaws.com/my.scenes/a.tif"
    aws(ACCESS_KEY_ID=KEY, SECRET_ACCESS_KEY=SECRET, NO_SIGN_REQUEST="YES")
    assert "?" not in Buckets().url("scenes", "a.tif")
