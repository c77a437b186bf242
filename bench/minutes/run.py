"""The minutes: parts one after another, each with its share, and the record after every step."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.minutes import cells, report
from bench.minutes.stage import Result
from bench.minutes.worker import Worker, steps
from bench.problem import ROOT
from multistep.files import UserError, digest, read_json, sha256, write_json, write_text
from multistep.progress import say

# Of the minutes, at most, in this order; what a part leaves falls to the last, the cells.
SHARES = {"checks": 0.18, "rates": 0.18, "transfer": 0.12, "kernels": 0.06, "peers": 0.05}
NEEDED = ("float64", "captured")  # checks without which a method's time says nothing
LATE = 0.05  # of the minutes: what the last step of a part may take beyond its share
LAST = 15.0  # seconds that a cell is worth beginning for


@dataclass
class Minutes:
    """A run of the script. `only`: a regular expression for the steps and cells that are run;
    `begin` makes a worker.
    """

    device: str
    minutes: float
    out: Path
    scale: cells.Scale
    threads: int
    only: str = ""
    begin: Callable[[str, int], Worker] = Worker
    record: dict[str, Any] = field(default_factory=dict)
    worker: Worker | None = None

    def run(self) -> None:
        """All of it; what was done before isn't done again."""
        begun = time.monotonic()
        end = begun + 60 * self.minutes
        try:
            self._open(end)
            for part in SHARES:
                self._part(part, end)
            if self.worker is not None:
                self.worker.close()  # a cell wants the device for itself
            self._cells(end)
        finally:
            if self.worker is not None:
                self.worker.close()
            if self.record:
                spent = self.record.setdefault("spent", [])
                spent.append(round(time.monotonic() - begun, 1))
                self._save()

    @property
    def file(self) -> Path:
        return self.out / f"minutes-{self.device}.json"

    def _save(self) -> None:
        write_json(self.file, self.record)
        write_text(self.file.with_suffix(".md"), report.page(self.record))

    def _open(self, end: float) -> None:
        """Begin a worker, and a record unless there is one of the same code on the same machine."""
        self.worker = self.begin(self.device, self.threads)
        about = self.worker.answer(end)
        if "environment" not in about:
            raise UserError(f"the device can't be used: {about.get('error') or about['stopped']}")
        files = [file for folder in ("src", "bench") for file in (ROOT / folder).rglob("*.py")]
        code = [sha256(file) for file in sorted(files)]
        key = digest([code, about["identity"]])
        known = read_json(self.file) if self.file.exists() else {}
        if known.get("key") == key:
            self.record = known
            return
        if known:
            say(f"{self.file}: of other code or another machine; it begins anew")
        self.record = {
            "schema": 1, "kind": "bench-minutes", "key": key, "environment": about["environment"],
            "parts": {}, "cells": {}, "note": None,
        }  # fmt: skip

    def _part(self, part: str, end: float) -> None:
        done = self.record["parts"].setdefault(part, {})
        wanted = [
            name
            for name in steps()[part]
            if re.search(self.only, f"{part}/{name}") and not _final(done.get(name))
        ]
        deadline = time.monotonic() + SHARES[part] * 60 * self.minutes
        for name in wanted:
            if self.worker is None or self.worker.closed:
                begun = time.monotonic()
                self.worker = self.begin(self.device, self.threads)
                self.worker.answer(end)
                deadline += time.monotonic() - begun  # to begin is not a part's work
            if time.monotonic() >= min(deadline, end):
                say(f"{part}: time is up before {name}")
                return
            if missing := self._missing(part, name):
                done[name] = {"left_out": f"{missing} is wrong"}
            else:
                last = min(end, deadline + LATE * 60 * self.minutes)
                done[name] = self.worker.ask(part, name, last)
            say(f"{part}/{name}: {_told(done[name])}")
            self._save()

    def _missing(self, part: str, name: str) -> str | None:
        """A check that failed and that this step rests on."""
        if part == "checks":
            return None
        middle = name.split("/")[1:]
        way = "/".join(middle[: 1 if part == "rates" else None])
        checks = self.record["parts"].get("checks", {})
        for check, found in checks.items():
            where, _, kind = check.rpartition("/")
            if kind in NEEDED and where.partition("/")[2] == way and _wrong(found):
                return check
        return None

    def _cells(self, end: float) -> None:
        rates = {
            name.removesuffix("/captured"): found["per_second"]
            for name, found in self.record["parts"].get("rates", {}).items()
            if name.endswith("/captured") and "per_second" in found
        }
        if not rates:
            return
        methods = {name.partition("/")[2] for name in rates}
        try:
            self.scale.set_up()
            planned = self.scale.plan(methods)
            planned = [c for c in planned if re.search(self.only, f"cells/{c.path}")]
            for dataset in {cell.dataset for cell in planned}:
                self.scale.prepare(dataset)
        except UserError as error:
            self.record["note"] = f"no cell was trained: {error}"
            say(self.record["note"])
            return
        self.record["note"] = None
        for cell, seconds in cells.order(planned, rates):
            if self._missing("rates", f"{cell.experiment}/{cell.method}"):
                continue
            left = end - time.monotonic()
            if left < min(LAST, 60 * self.minutes / 10):
                return
            say(f"{cell.path}: {seconds:.0f} s expected, {left:.0f} s left")
            found = cells.train(self.scale, cell, end)
            self.record["cells"][cell.path] = {"expected": seconds, **found}
            say(f"{cell.path}: {_told(found)}")
            self._save()


def _final(found: Result | None) -> bool:
    """Whether a step needn't be asked for again."""
    return found is not None and not {"error", "stopped", "left_out"} & found.keys()


def _wrong(found: Result) -> bool:
    return "error" in found or found.get("ok") is False


def _told(found: Result) -> str:
    shown = {k: v for k, v in found.items() if not isinstance(v, list | dict)}
    told = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())
    return ", ".join(told)
