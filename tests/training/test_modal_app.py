"""The Modal app: its definition, what it refuses before anything is rented, and its body on this machine. No network."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from builders import REPO

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
modal = pytest.importorskip("modal", reason="needs the extra `modal`")
pytest.importorskip("torch")
pytest.importorskip("peft")
from tiny_runs import mood_dataset, write_tiny_config  # noqa: E402

from bot.adapters.adapter_store import check_base, read_adapter  # noqa: E402
from bot.errors import Refused  # noqa: E402
from training import modal_app  # noqa: E402


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def never(*_: object) -> None:
        raise AssertionError("the app connects")

    monkeypatch.setattr(socket.socket, "connect", never)


def test_the_app_is_one_function_and_one_entry(tmp_path: Path) -> None:
    assert isinstance(modal_app.app, modal.App)
    assert isinstance(modal_app.finetune, modal.Function)
    assert isinstance(modal_app.finetune.with_options(gpu="H200"), modal.Function)
    assert isinstance(modal_app.image_of(REPO), modal.Image)
    assert isinstance(modal_app.volume, modal.Volume)
    for name in modal_app.PACKAGES:
        assert (REPO / name / "__init__.py").is_file()


def test_the_image_installs_what_the_fine_tune_needs_each_pinned() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    told = [re.split(r"[\[<>=; ]", one)[0].lower() for one in modal_app.requirements(project, "train")]
    assert {"torch", "transformers", "peft", "trl", "datasets", "tensorboard", "matplotlib", "rich"} <= set(told)
    assert len(told) == len(set(told))
    assert project["name"] not in told
    pins = {line.split("==")[0].lower().replace("_", "-") for line in (REPO / "constraints.txt").read_text().split()}
    assert set(told) <= pins


def test_its_body_trains_in_the_volume_and_a_refusal_is_an_answer(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, epochs=1.0)
    root = tmp_path / "volume"
    (tmp_path / "models").rename(tmp_path / "there")
    root.mkdir()
    (tmp_path / "there").rename(root / "models")
    mood_dataset(root / "datasets/night")

    told = modal_app.fine_tune(root, config.read_text(), "night", {"rank": 2, "model": "tiny"})

    assert told["steps"] == 3
    manifest = read_adapter(root / "night/adapter")
    check_base(manifest, root / "models/tiny")
    assert json.loads((root / "night/adapter/adapter_config.json").read_text())["r"] == 2
    again = modal_app.fine_tune(root, config.read_text(), "night", {"rank": 2, "model": "tiny"})
    assert again["refused"].endswith("night: this run is finished; name another folder")


def test_the_adapter_comes_back_file_by_file(tmp_path: Path) -> None:
    class Store:
        """A volume with two files."""

        def iterdir(self, there: str) -> list[Any]:
            return [type("Entry", (), {"path": f"{there[1:]}/{name}"}) for name in ("a.json", "b.bin")]

        def read_file_into_fileobj(self, path: str, file: Any) -> None:
            file.write(path.encode())

    modal_app.fetch(Store(), "/night/adapter", tmp_path / "here/adapter")
    assert (tmp_path / "here/adapter/b.bin").read_bytes() == b"night/adapter/b.bin"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"dataset": "nowhere"}, "no dataset"),
        ({"knobs": "{"}, "--knobs: "),
        ({"knobs": "[1]"}, "--knobs: no object: an object of"),
        ({"knobs": '{"ranc": 4}'}, "--knobs: ranc: an object of"),
        ({"knobs": '{"rank": 0}'}, "`rank` must be at least 1"),
        ({"knobs": '{"model": "nix"}'}, "model nix is neither"),
        ({"knobs": '{"start": "runs/x"}'}, "train.start is not sent"),
        ({"out": "runs/a b"}, "the folder's name becomes the adapter's"),
        ({"out": "data"}, "data: is there already"),
    ],
)
def test_what_is_wrong_is_refused_here(tmp_path: Path, change: dict[str, str], told: str) -> None:
    config = write_tiny_config(tmp_path)
    mood_dataset(tmp_path / "data")
    given = {"dataset": "data", "out": "night", "knobs": '{"rank": 4}', **change}
    with pytest.raises(Refused, match=re.escape(told)):
        modal_app.checked(config, tmp_path / given["dataset"], tmp_path / given["out"], given["knobs"])


def test_what_is_right_is_sent_with_its_base(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path)
    base, knobs = modal_app.checked(config, mood_dataset(tmp_path / "data"), tmp_path / "night", '{"rank": 4}')
    assert (base, knobs) == (tmp_path / "models/tiny", {"rank": 4, "model": "tiny"})
