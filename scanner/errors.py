"""The one tree of errors.

    MinescanError                kind, exit code
     ├── InputError              2   an option, a file or a card is wrong; nothing was begun
     │    ├── AoiError
     │    ├── DatesError
     │    ├── CatalogError           no such catalogue, no scenes, an unknown collection
     │    ├── DetectorError          unknown card; wrong level or bands
     │    ├── DeviceError            a GPU asked for where there is none
     │    └── FolderError            begun with other parameters; locked; not writable
     ├── BudgetError             3   the estimate is above a limit the user gave
     └── AssetError              1   a file of a scene that could not be read: a ledger row, never the end of the run

Every error pickles, since workers raise them. A message is one line: what was got, what was expected, what to do.
"""

__all__ = [
    "AoiError",
    "AssetError",
    "BudgetError",
    "CatalogError",
    "DatesError",
    "DetectorError",
    "DeviceError",
    "FolderError",
    "InputError",
    "MinescanError",
]


class MinescanError(Exception):
    """Anything minescan raises on purpose."""

    kind = "error"
    exit_code = 1


class InputError(MinescanError):
    """What the user gave cannot be used."""

    kind = "input"
    exit_code = 2


class AoiError(InputError):
    """The area of interest is empty, invalid or outside the grid."""

    kind = "aoi"


class DatesError(InputError):
    """The dates are not two days in order."""

    kind = "dates"


class CatalogError(InputError):
    """The catalogue cannot be read, or has nothing for the question."""

    kind = "catalog"


class DetectorError(InputError):
    """No such card, or one for another level or other bands."""

    kind = "detector"


class DeviceError(InputError):
    """The device asked for is not here."""

    kind = "device"


class FolderError(InputError):
    """The scan's folder cannot be used as it is."""

    kind = "folder"


class BudgetError(MinescanError):
    """The estimate is above a limit; nothing was read."""

    kind = "budget"
    exit_code = 3


class AssetError(MinescanError):
    """One file of one scene could not be read, after every retry."""

    kind = "asset"

    def __init__(self, href: str, reason: str) -> None:
        super().__init__(href, reason)
        self.href = href
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.href}: {self.reason}"
