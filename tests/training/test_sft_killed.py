"""The real processes: killed half-way and asked again, and two of them as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import REPO

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch = pytest.importorskip("torch")
pytest.importorskip("peft")
from safetensors.torch import load_file  # noqa: E402
from tiny_runs import mood_dataset, tune, write_tiny_config  # noqa: E402

from bot.adapters.adapter_store import WEIGHTS  # noqa: E402
from training.run_folder import read_log  # noqa: E402

QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
ENVIRONMENT = {**os.environ, **QUIET, "PYTHONPATH": str(REPO)}


def sft(folder: Path, out: str, *options: str, launcher: tuple[str, ...] = ()) -> list[str]:
    given = ["-m", "bot", "--config", str(folder / "config.toml"), "train", "sft", str(folder / "data")]
    return [sys.executable, *launcher, *given, "--out", str(folder / out), *options]


def weights(folder: Path, out: str) -> dict[str, torch.Tensor]:
    return load_file(folder / out / "adapter" / WEIGHTS)


def test_a_killed_run_goes_on_and_comes_to_the_same_weights(tmp_path: Path) -> None:
    mood_dataset(tmp_path / "data")
    knobs = {"epochs": 8.0, "dropout": 0.1, "evals_per_epoch": 1, "save_minutes": 1e-9}
    write_tiny_config(tmp_path, **knobs)
    tune(tmp_path, tmp_path / "data", "whole", **knobs)

    with subprocess.Popen(
        sft(tmp_path, "killed"), cwd=REPO, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step 10 of 24"):
                process.kill()
                break
    assert process.returncode == -9
    assert not (tmp_path / "killed/adapter").exists()
    done = subprocess.run(
        sft(tmp_path, "killed"), cwd=REPO, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )

    assert "going on from its last state" in done.stdout
    assert "step 8 of" not in done.stdout
    assert "24 steps" in done.stdout
    whole, again = weights(tmp_path, "whole"), weights(tmp_path, "killed")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    rows = read_log(tmp_path / "killed/log.csv")
    assert [row["step"] for row in rows] == list(range(1, 25))
    expected = read_log(tmp_path / "whole/log.csv")
    assert [row["valid_loss"] for row in rows[2::3]] == [row["valid_loss"] for row in expected[2::3]]
    assert [row["tokens"] for row in rows] == [row["tokens"] for row in expected]


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    mood_dataset(tmp_path / "data", train=15)  # the last step of an epoch has 3 examples: one of the two has none more
    knobs = {"epochs": 2.0, "pack_tokens": 50}
    tune(tmp_path, tmp_path / "data", "one", **knobs, batch=4)
    write_tiny_config(tmp_path, **knobs, batch=2)

    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d",
                "--rdzv-endpoint=localhost:0")  # fmt: skip
    done = subprocess.run(
        sft(tmp_path, "two", launcher=launcher), cwd=REPO, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
    one, two = weights(tmp_path, "one"), weights(tmp_path, "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    rows = [read_log(tmp_path / name / "log.csv") for name in ("one", "two")]
    assert [row["loss"] for row in rows[1]] == pytest.approx([row["loss"] for row in rows[0]], abs=1e-4)
    assert [row["tokens"] for row in rows[1]] == [row["tokens"] for row in rows[0]]
    assert done.stdout.count("step 8 of 8") == 1  # one of them speaks
