"""OpenML data sets over HTTP: description, file, checksum, cache.

A data set is `<cache>/openml/<id>/` with `description.json` and `data.arff` or `data.parquet`, where <cache> is the
environment variable WEFT_CACHE or ~/.cache/weft. What is there is used without a request. A download grows as
`data.*.part`, is continued where it broke off, and gets its name only once its checksum fits. WEFT_OPENML_URL replaces
https://www.openml.org.

Source of the interface: OpenML REST API v1, https://www.openml.org/apis.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft import atomic
from weft._cache import cache_directory
from weft.config.data import DataConfig
from weft.data import files
from weft.data.roles import assign
from weft.data.source import Source, sha256_of_files
from weft.errors import DataError

_log = logging.getLogger(__name__)

_SUFFIXES = {"arff": ".arff", "parquet": ".parquet"}
_BLOCK = 1 << 18  # bytes received together
_NETWORK = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


@dataclass(frozen=True)
class Download:
    """A data set on this disk: its file, OpenML's description of it (or {}), and what to know."""

    path: Path
    description: dict[str, Any]
    notes: tuple[str, ...] = ()


def source(data_id: int, config: DataConfig, *, timeout: float = 30.0) -> Source:
    """Return the rows of an OpenML data set; the label is `config.label` or the target that OpenML names."""
    found = fetch(data_id, timeout=timeout)
    target = found.description.get("default_target_attribute")
    ignored = [*_names(found.description.get("ignore_attribute")), *_names(found.description.get("row_id_attribute"))]
    parts = assign(
        files.read(found.path),
        label=config.label or target,
        features=config.features,
        weight=config.sample_weight,
        ignore=ignored,
        missing=config.missing,
    )
    title = found.description.get("name", "placed by hand")
    notes = (*found.notes, *([f"columns left out as OpenML asks: {', '.join(ignored)}"] if ignored else []))
    text = f"OpenML data set {data_id} ({title})"
    return Source(f"openml:{data_id}", text, parts, sha256_of_files([found.path]), notes=notes)


def fetch(data_id: int, *, cache: Path | None = None, base_url: str | None = None, timeout: float = 30.0) -> Download:
    """Return an OpenML data set from the cache, or download it into the cache.

    Args:
        data_id: Its number on OpenML.
        cache: The cache directory; None takes WEFT_CACHE or ~/.cache/weft.
        base_url: The server; None takes WEFT_OPENML_URL or https://www.openml.org.
        timeout: Seconds without an answer after which the server counts as silent.

    Raises:
        DataError: OpenML cannot be reached or does not have the set, the file breaks off, its checksum is wrong, or its
            format is not read by weft.
    """
    cache = cache or cache_directory()
    directory = cache / "openml" / str(data_id)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process downloads, the others wait for it
        cached = _cached(directory)
        if cached is not None:
            return cached
        base_url = base_url or os.environ.get("WEFT_OPENML_URL") or "https://www.openml.org"
        try:
            return _download(data_id, directory, base_url.rstrip("/"), timeout)
        except _NETWORK as error:
            raise DataError(
                f"cannot download OpenML data set {data_id} from {base_url}: {_reason(error, timeout)}; try again (a "
                f"partial download is continued), or place the file by hand as {directory / 'data.arff'}"
            ) from error


def _cached(directory: Path) -> Download | None:
    path = next((p for suffix in _SUFFIXES.values() if (p := directory / f"data{suffix}").exists()), None)
    if path is None:
        return None
    if not (directory / "description.json").exists():
        _log.warning("%s was placed by hand: its checksum is not verified", path)
        return Download(path, {}, ("the file was placed by hand and its checksum not verified against OpenML",))
    description = atomic.read_json(directory / "description.json")
    wanted = description.get("md5_checksum")
    if wanted and _md5(path) != wanted:
        raise DataError(
            f"{path} has changed since its download: its MD5 is not OpenML's {wanted}; delete it to load it anew"
        )
    return Download(path, description, _checksum_notes(wanted))


def _download(data_id: int, directory: Path, base_url: str, timeout: float) -> Download:
    address = f"{base_url}/api/v1/json/data/{data_id}"
    with _open(address, timeout) as answer:
        text = answer.read()
    try:
        description = json.loads(text)["data_set_description"]
        kind, url = str(description["format"]).lower(), description["url"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{address} did not answer with a description of a data set but with {text[:80]!r}; "
            f"check the number {data_id}"
        ) from error
    if kind not in _SUFFIXES:
        raise DataError(
            f"OpenML data set {data_id} has the format '{description['format']}'; weft reads dense ARFF and Parquet"
        )
    wanted = description.get("md5_checksum")
    path = directory / f"data{_SUFFIXES[kind]}"
    part = path.with_name(f"{path.name}.{wanted or 'unchecked'}.part")
    if not wanted:
        part.unlink(missing_ok=True)  # nothing would tell whether the rest belongs to it
    _log.info("downloading %s", url)
    _receive(url, part, timeout)
    found = _md5(part)
    if wanted and found != wanted:
        part.unlink()
        raise DataError(
            f"the file of OpenML data set {data_id} from {url} has the MD5 {found}, but OpenML states {wanted}; it was "
            f"removed: try again, and report it to OpenML if it stays so"
        )
    atomic.write_json(directory / "description.json", description)
    os.replace(part, path)
    return Download(path, description, _checksum_notes(wanted))


def _receive(url: str, part: Path, timeout: float) -> None:
    """Continue `part` with the rest of the file at `url`; raises DataError if the body breaks off."""
    have = part.stat().st_size if part.exists() else 0
    try:
        answer = _open(url, timeout, first_byte=have)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after the last byte: the part is whole, or the checksum will tell
            error.close()
            return
        raise
    with answer:
        continued = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        expected, received = answer.headers.get("Content-Length"), 0
        with part.open("ab" if continued else "wb") as file:
            while block := answer.read1(_BLOCK):  # what came before a silence is kept
                file.write(block)
                received += len(block)
            file.flush()
            os.fsync(file.fileno())
    if expected is not None and received != int(expected):
        raise DataError(
            f"the download of {url} broke off after {received} of {expected} bytes; run the same command again "
            f"to continue it"
        )


def _open(url: str, timeout: float, first_byte: int = 0) -> http.client.HTTPResponse:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"refused to open {url}: a data set is loaded over http or https")
    headers = {"User-Agent": "weft", **({"Range": f"bytes={first_byte}-"} if first_byte else {})}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server answered {error.code} {error.reason} for {error.url}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"the server was silent for {timeout:g} s"
    return f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else str(cause)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _checksum_notes(wanted: str | None) -> tuple[str, ...]:
    return () if wanted else ("OpenML states no checksum for this file",)


def _names(value: str | list[str] | None) -> list[str]:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value or [])
