import pytest

from scanner.catalog.profiles import payment_note
from scanner.config import DEFAULT_CATALOG


@pytest.mark.parametrize(
    ("catalog", "level", "pays"),
    [
        (DEFAULT_CATALOG, "l1c", True),
        (DEFAULT_CATALOG, "l2a", False),
        ("https://planetarycomputer.microsoft.com/api/stac/v1", "l2a", False),
        ("items.json", "l1c", False),
    ],
)
def test_who_must_pay_is_said(catalog, level, pays):
    note = payment_note(catalog, None, level)
    assert (note is not None and "requester-pays" in note) == pays
