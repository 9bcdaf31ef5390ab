"""The folder of an exploration: what was asked (`explore.json`) and every finished trial (`trials.jsonl`, a line each).

A line is written as soon as its trial is finished, and a folder can be taken up again: trials are known by their
pipeline, so another space, another number of trials or workers add to what is there. Other networks, data or seeds do
not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from irc.diagnostics import IrcError, error
from irc.explore.trial import Trial, trial_from
from irc.folder import replace_files, unwritable

SETTINGS, TRIALS = "explore.json", "trials.jsonl"


class Journal:
    """The finished trials of a folder. `settings` are all that their results depend on."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], resume: bool) -> None:
        """Raises E503 for a folder that is not ours, or holds trials and is not to be resumed; E505 when these are
        trials of something else."""
        self.folder = folder
        self._trials: dict[str, Trial] = {}
        if _is_ours(folder):
            if not resume:
                raise error("E503", "the folder holds an exploration", file=str(folder),
                            remedy="Go on with it with --resume, or choose another folder with -o.")
            self._require(settings)
            self._trials = {trial.pipeline: trial for trial in self._lines()}
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        replace_files({folder / SETTINGS: text.encode(), folder / TRIALS: _text(self.trials())})

    def trials(self) -> list[Trial]:
        """Every finished trial."""
        return list(self._trials.values())

    def __contains__(self, pipeline: str) -> bool:
        return pipeline in self._trials

    def __getitem__(self, pipeline: str) -> Trial:
        return self._trials[pipeline]

    def add(self, trial: Trial) -> None:
        """Keep a trial, on disk when this returns."""
        self._trials[trial.pipeline] = trial
        try:
            with (self.folder / TRIALS).open("ab") as file:
                file.write(_line(trial))
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise unwritable(self.folder / TRIALS, problem) from None

    def arrange(self, order: Sequence[str]) -> None:
        """Put these trials in front, in this order: workers finish in any."""
        first = {pipeline: self._trials[pipeline] for pipeline in order if pipeline in self._trials}
        self._trials = {**first, **self._trials}
        replace_files({self.folder / TRIALS: _text(self.trials())})

    def _require(self, settings: Mapping[str, Any]) -> None:
        try:
            found = json.loads((self.folder / SETTINGS).read_text("utf-8"))
            there = {key: found[key] for key in settings}
        except (OSError, ValueError, KeyError, TypeError):
            raise error("E505", "the file is damaged", file=str(self.folder / SETTINGS)) from None
        other = [key for key, value in settings.items() if there[key] != value]
        if other:
            raise error("E505", f"the trials there are of another {', '.join(other)}", file=str(self.folder))

    def _lines(self) -> list[Trial]:
        path = self.folder / TRIALS
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as problem:
            raise error("E101", f"{problem.strerror or problem}", file=str(path)) from None
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # the writer was killed in the middle
        return [_read(line, path, number) for number, line in enumerate(lines, 1)]


def _is_ours(folder: Path) -> bool:
    """Whether the folder holds an exploration; E503 when it holds something else."""
    try:
        used = folder.exists() and any(folder.iterdir())
    except OSError as problem:
        raise unwritable(folder, problem) from None
    if used and not (folder / SETTINGS).is_file():
        raise error("E503", "the folder holds files that are not an exploration", file=str(folder),
                    remedy="Choose another folder with -o, or empty this one.")
    return used


def _read(line: bytes, path: Path, number: int) -> Trial:
    try:
        return trial_from(json.loads(line))
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, number) from None


def _damaged(path: Path, number: int) -> IrcError:
    return error("E505", "the line is no trial", file=str(path), line=number,
                 remedy="Delete the line; the trial is made again.")


def _line(trial: Trial) -> bytes:
    return json.dumps(trial.to_json(), ensure_ascii=False).encode() + b"\n"


def _text(trials: Sequence[Trial]) -> bytes:
    return b"".join(map(_line, trials))
