"""Output that is complete or not there: everything is written beside the target and moved into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from irc.diagnostics import IrcError, error


def replace_folder(target: Path, files: Mapping[str, str | bytes]) -> None:
    """Make `target` a folder with exactly `files` (relative path to content). Raises E503; then nothing has changed."""
    place = Path(os.path.realpath(target))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as problem:
        raise unwritable(target, problem) from None
    try:
        _fill(scratch / "new", files)
        _swap(scratch, place)
    except OSError as problem:
        raise unwritable(target, problem) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Write some files, and the folders they are in, all or none. Raises E503; then no file has changed."""
    places = {path: path.with_name(f".{path.name}.new") if path.is_file() or not path.exists() else path
              for path in files}  # what is no file, such as a pipe, is written to where it stands
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            places[path].write_bytes(content)
        for path, fresh in places.items():
            fresh.replace(path)  # does nothing where both are the same
    except OSError as problem:
        raise unwritable(next(iter(files)), problem) from None
    finally:
        for fresh in set(places.values()) - set(files):
            with suppress(OSError):
                fresh.unlink()


def require_replaceable(target: Path, mark: str) -> None:
    """Raise E503 when `target` holds something that is not ours: a file, or a folder with files but without `mark`."""
    try:
        foreign = target.exists() and not (target / mark).is_file() and any(target.iterdir())
    except OSError as problem:
        raise unwritable(target, problem) from None
    if foreign:
        raise error("E503", "the folder holds files that are not a build", file=str(target),
                    remedy="Choose another folder with -o, or empty this one.")


def unwritable(target: Path, problem: OSError) -> IrcError:
    """E503 for what the operating system said."""
    return error("E503", f"{problem.strerror or problem}", file=str(target),
                 remedy="Choose a place that can be written and has room.")


def _fill(folder: Path, files: Mapping[str, str | bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def _swap(scratch: Path, place: Path) -> None:
    """Put `scratch/new` at `place`; what was there goes to `scratch/old`, and comes back when the move fails."""
    had = place.exists()
    if had:
        place.rename(scratch / "old")
    try:
        (scratch / "new").rename(place)
    except OSError:
        if had:
            (scratch / "old").rename(place)
        raise
