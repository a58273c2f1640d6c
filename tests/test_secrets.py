"""Secrets: typed unseen, kept in the keyring, found again, never in config.toml, never in an answer."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from builders import REPO, config, config_table, order
from hypothesis import given
from hypothesis import strategies as st

from bot import secrets
from bot.adapters.broker_stock_api import REPLY_CHARS, StockApiBroker
from bot.config_file import config_of
from bot.core.orders import OrderState
from bot.errors import ConfigError
from bot.live import require_live
from bot.secrets import hide, redacted, secret

PASSWORD = "typed-c@nary/1"


def environment(folder: Path, backend: str = "file_keyring.FileKeyring", **more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(REPO), str(REPO / "tests")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TWTRADER_", "NEWSAPI_"))}
    kept |= {"PYTHONPATH": paths, "PYTHON_KEYRING_BACKEND": backend, "FILE_KEYRING": str(folder / "keyring.json")}
    return kept | more


def run(folder: Path, *words: str, typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", *words],
        env=environment(folder, **more), input=typed, capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip


def test_a_secret_is_typed_unseen_at_a_terminal_and_kept(tmp_path: Path) -> None:
    """On a real terminal: what is typed does not come back, and the child finds it."""
    pid, terminal = pty.fork()
    if not pid:
        words = [sys.executable, "-m", "bot", "secrets", "set", "TWTRADER_PASSWORD"]
        os.execve(sys.executable, words, environment(tmp_path))
    seen = b""
    while b"TWTRADER_PASSWORD: " not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, PASSWORD.encode() + b"\n")
    while True:
        try:
            more = os.read(terminal, 1000)
        except OSError:  # the child is gone
            break
        if not more:
            break
        seen += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen
    os.close(terminal)
    assert b"is in the keyring" in seen
    assert PASSWORD.encode() not in seen
    assert PASSWORD in (tmp_path / "keyring.json").read_text(encoding="utf-8")


def test_set_list_forget(tmp_path: Path) -> None:
    assert run(tmp_path, "secrets", "set", "TWTRADER_PASSWORD", typed=PASSWORD + "\n").returncode == 0
    listed = run(tmp_path, "secrets", "list", "--json", NEWSAPI_KEY="from the shell")
    told = {row["name"]: row["from"] for row in json.loads(listed.stdout)}
    assert (told["TWTRADER_PASSWORD"], told["NEWSAPI_KEY"]) == ("keyring", "environment")
    assert told["TWTRADER_ACCOUNT"] == "not set"
    assert PASSWORD not in listed.stdout
    assert "from the shell" not in listed.stdout
    assert run(tmp_path, "secrets", "forget", "TWTRADER_PASSWORD").returncode == 0
    again = run(tmp_path, "secrets", "forget", "TWTRADER_PASSWORD")
    assert (again.returncode, again.stderr) == (1, "twtrader: TWTRADER_PASSWORD is not in the keyring\n")


@pytest.mark.parametrize(
    ("words", "typed", "backend", "message"),
    [
        (["set", "PASSWORD"], "x" * 9, "", "'PASSWORD' is no secret of twtrader: one of NEWSAPI_KEY, TWTRADER_ACCOUNT"),
        (["set", "TWTRADER_PASSWORD"], "", "", "nothing was typed, so nothing was kept"),
        (["set", "TWTRADER_PASSWORD"], "abc", "", "at least 4 characters"),
        (["set", "TWTRADER_PASSWORD"], "x" * 9, "keyring.backends.fail.Keyring", "no keyring is on this machine"),
        (["forget", "TWTRADER_PASSWORD"], "", "keyring.backends.fail.Keyring", "no keyring is on this machine"),
    ],
)
def test_what_can_t_be_kept_is_one_clear_line(
    words: list[str], typed: str, backend: str, message: str, tmp_path: Path
) -> None:
    done = run(tmp_path, "secrets", *words, typed=typed, backend=backend or "file_keyring.FileKeyring")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_locked_keyring_is_one_clear_line_and_no_reason_to_stop_a_paper_day(tmp_path: Path) -> None:
    (tmp_path / "keyring.json").write_text("locked", encoding="utf-8")
    listed = json.loads(run(tmp_path, "secrets", "list", "--json").stdout)
    assert {row["from"] for row in listed} == {"not set (the keyring failed: KeyringLocked)"}


# --- where they come from ---------------------------------------------------------------------------------


@pytest.fixture
def keyring_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import keyring
    from file_keyring import FileKeyring

    monkeypatch.setenv("FILE_KEYRING", str(tmp_path / "keyring.json"))
    monkeypatch.setattr(secrets, "_from_keyring", {})
    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())
    yield tmp_path / "keyring.json"  # type: ignore[misc]
    keyring.set_keyring(before)


def test_the_environment_counts_before_the_keyring(keyring_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring_file.write_text(json.dumps({"twtrader/TWTRADER_ACCOUNT": "kept"}), encoding="utf-8")
    assert secret("TWTRADER_ACCOUNT") == "kept"
    monkeypatch.setenv("TWTRADER_ACCOUNT", "told")
    assert secret("TWTRADER_ACCOUNT") == "told"


def test_a_secret_in_neither_place_names_both(keyring_file: Path) -> None:
    del keyring_file
    with pytest.raises(ConfigError, match="TWTRADER_PASSWORD is not set, and it is not in the keyring"):
        secret("TWTRADER_PASSWORD")


SECRET_KEYS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda told: told["broker"].update(password=PASSWORD), "unknown key `broker.password`; secrets are never kept"),
    (lambda told: told["broker"].update(account=PASSWORD), "unknown key `broker.account`; secrets are never kept"),
    (lambda told: told["feeds"]["newsapi"].update(api_key=PASSWORD), "`feeds.newsapi.api_key`; secrets are never kept"),
    (lambda told: told.update(secrets={"x": PASSWORD}), "unknown key `secrets`; secrets are never kept"),
    (lambda told: told["broker"].update(base_url=f"https://me:{PASSWORD}@example.test/x"), "`broker.base_url` has a"),
    (lambda told: told["feeds"]["rss"].update(urls=[f"https://{PASSWORD}@example.test/"]), "`feeds.rss.urls` has a"),
]


@pytest.mark.parametrize(("change", "message"), SECRET_KEYS)
def test_a_secret_in_the_config_is_refused_without_being_shown(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    told = config_table()
    change(told)
    with pytest.raises(ConfigError) as refused:
        config_of(told, Path("config.toml"))
    assert message in str(refused.value)
    assert PASSWORD not in str(refused.value)


# --- what is shown ----------------------------------------------------------------------------------------


@pytest.fixture
def own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests hid, before and after."""
    monkeypatch.setattr(secrets, "_seen", {})
    secrets._spellings.cache_clear()
    monkeypatch.setattr(secrets, "_from_keyring", {})


@pytest.mark.usefixtures("own_secrets")
def test_a_reply_loses_its_secrets_before_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page on which the cut would fall into the middle of the password, at every possible place."""
    monkeypatch.setenv("TWTRADER_ACCOUNT", "somebody")
    monkeypatch.setenv("TWTRADER_PASSWORD", PASSWORD)
    broker = StockApiBroker(config(tmp_path, broker={"kind": "stock_api", "base_url": "http://127.0.0.1:9/x"}).broker)
    for before in range(REPLY_CHARS - 40, REPLY_CHARS + 2):
        page = "." * before + PASSWORD
        broker._http = httpx.Client(transport=httpx.MockTransport(lambda _, page=page: httpx.Response(200, text=page)))
        receipt = broker.submit(order())
        assert receipt.state is OrderState.UNKNOWN
        assert len(receipt.reply) <= REPLY_CHARS
        assert not any(PASSWORD[:length] in receipt.reply for length in range(4, len(PASSWORD) + 1)), receipt.reply


@pytest.mark.usefixtures("own_secrets")
def test_a_secret_inside_another_leaves_no_rest() -> None:
    hide("password")
    hide("password-and-more")
    assert redacted("say password-and-more and password") == "say *** and ***"


@pytest.mark.usefixtures("own_secrets")
def test_what_is_too_short_to_be_told_from_words_is_left() -> None:
    hide("abc")
    hide("")
    assert redacted("abc") == "abc"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=4, max_size=24).map(str.strip))
def test_no_spelling_of_any_secret_survives(value: str) -> None:
    from base64 import b64encode
    from urllib.parse import quote, urlencode

    if len(value) < secrets.SHORTEST:
        return
    secrets._seen.clear()
    secrets._spellings.cache_clear()
    hide(value)
    form = urlencode({"account": "somebody", "password": value, "stock_code": "2330"})
    for text in (
        value,
        form,
        json.dumps({"p": value}),
        json.dumps({"p": value}, ensure_ascii=False),
        repr({"p": value}),
    ):
        assert redacted(text) != text
        assert value not in redacted(text)
    assert quote(value, safe="") not in redacted(form)
    raw = value.encode()
    for before in range(3):
        told = b64encode(b"x" * before + raw + b"yz").decode()
        assert redacted(told) != told
    secrets._seen.clear()
    secrets._spellings.cache_clear()


def test_both_keys_are_needed_to_go_live(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"`broker\.live` is false, so no order may leave for example\.test"):
        require_live("example.test", live=False)
    with pytest.raises(ConfigError, match="TWTRADER_LIVE=1 is not set, so no order may leave for"):
        require_live("example.test", live=True)
    monkeypatch.setenv("TWTRADER_LIVE", "yes")
    with pytest.raises(ConfigError, match="TWTRADER_LIVE=1"):
        require_live("example.test", live=True)
    monkeypatch.setenv("TWTRADER_LIVE", "1")
    require_live("example.test", live=True)
    with pytest.raises(ConfigError, match=r"`broker\.live`"):
        require_live("example.test", live=False)
