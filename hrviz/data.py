"""Real pictures to download: a table of addresses, checksums and licences, fetched through pooch.

Nothing is downloaded unless `fetch` is called (or `hrviz data fetch NAME`). What was fetched opens
as `data:NAME`.
"""

from __future__ import annotations

import csv
import difflib
import logging
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hrviz.errors import HrvizError

RETRIES = 2
TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class Entry:
    """A file that can be downloaded.

    Parameters
    ----------
    name : str
        Under which it is kept; `data:NAME` opens it.
    url, sha256 : str
        Where it is, and what it must be.
    bytes : int or None
        Its size, where that is known.
    licence, credit : str
        What one may do with it, and who is to be thanked.
    shows : str
        What is seen.
    """

    name: str
    url: str
    sha256: str
    bytes: int | None
    licence: str
    credit: str
    shows: str


def _table() -> Path:
    """`registry.csv`: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "sample_data", package.parent / "sample_data"):
        if (folder / "registry.csv").is_file():
            return folder / "registry.csv"
    raise HrvizError("the table of downloads is not installed: install hrviz again")


@cache
def registry() -> tuple[Entry, ...]:
    """All files that can be downloaded.

    Examples
    --------
    >>> registry()[0].name, registry()[0].licence
    ('CMU-1-Small-Region.svs', 'CC0-1.0')
    """
    with _table().open(newline="", encoding="utf-8") as file:
        return tuple(
            Entry(
                row["name"], row["url"], row["sha256"], int(row["bytes"]) if row["bytes"] else None,
                row["licence"], row["credit"], row["shows"],
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


def find(name: str) -> Entry:
    """The entry called `name`.

    Raises
    ------
    HrvizError
        When there is none.
    """
    entries = {e.name: e for e in registry()}
    if name in entries:
        return entries[name]
    lower = {n.lower(): n for n in entries}
    near = difflib.get_close_matches(name.lower(), lower, 1, cutoff=0.0)[0]
    raise HrvizError(
        f"{name!r} is not among the files to download (see 'hrviz data'): did you mean {lower[near]}?"
    )


def data_folder() -> Path:
    """Where downloads are kept: `HRVIZ_DATA`, else the user's cache folder."""
    import pooch

    given = os.environ.get("HRVIZ_DATA")
    return Path(given).expanduser() if given else Path(pooch.os_cache("hrviz"))


def fetched(name: str) -> Path:
    """The downloaded file `name`; never downloads.

    Raises
    ------
    HrvizError
        When it is not there yet, with the command that fetches it.
    """
    entry = find(name)
    path = data_folder() / entry.name
    if not path.is_file():
        size = f" ({entry.bytes / 1e6:.0f} MB)" if entry.bytes else ""
        raise HrvizError(
            f"data:{entry.name} is not downloaded yet{size}: run 'hrviz data fetch {entry.name}'"
        )
    return path


def fetch(name: str, progress: bool = True, folder: str | os.PathLike[str] | None = None) -> Path:
    """Download a file of the registry, unless it is there, and check it.

    Parameters
    ----------
    name : str
        As in `registry()`.
    progress : bool
        Show a bar on standard error.
    folder : str or path, optional
        Where to keep it; default `HRVIZ_DATA`, else the user's cache folder.

    Returns
    -------
    Path
        Of a file with the right checksum.

    Raises
    ------
    HrvizError
        One sentence: no such name, no network, another content than expected (which is deleted),
        no room. Tells what to download by hand, and where to put it.
    """
    import pooch
    import requests

    entry = find(name)
    place = Path(folder).expanduser() if folder else data_folder()
    target = place / entry.name
    shelf = pooch.create(
        path=place, base_url="", registry={entry.name: f"sha256:{entry.sha256}"},
        urls={entry.name: entry.url}, retry_if_failed=RETRIES,
    )  # fmt: skip
    pooch.get_logger().setLevel(logging.WARNING)  # its lines would stand between ours
    try:
        return Path(
            shelf.fetch(
                entry.name, downloader=pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT)
            )
        )
    except requests.RequestException as error:
        raise HrvizError(
            f"{entry.name} could not be downloaded ({_reason(error)}): try again later, or download "
            f"{entry.url} by hand and put it at {target}"
        ) from None
    except ValueError:  # pooch: the checksum is another one
        raise HrvizError(
            f"{entry.name} was deleted: what {entry.url} sent is not the file expected (its SHA-256 "
            f"is another); try again, or put the right file at {target}"
        ) from None
    except OSError as error:
        raise HrvizError(
            f"{entry.name} could not be written in {place} ({error.strerror or error}): set "
            "HRVIZ_DATA to a folder with room that may be written to"
        ) from None


def _reason(error: Exception) -> str:
    """Why a download failed, in few words."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    return "the server cannot be reached"
