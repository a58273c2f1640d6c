from __future__ import annotations

import pytest

from bot.adapters.twstock_codes import company_of
from bot.errors import Refused
from bot.ports import Company

TSMC = Company(symbol="2330", name="台積電", board="twse")


@pytest.mark.parametrize("told", [2330, "2330", "台積電", " 台積電 ", "臺積電", "２３３０"])
def test_a_company_by_code_or_name(told: str | int) -> None:
    assert company_of(told) == TSMC


@pytest.mark.parametrize(
    ("told", "symbol", "board"),
    [
        ("環球晶", "6488", "tpex"),
        ("國巨", "2327", "twse"),  # the exchange writes 國巨*
        (50, "0050", "twse"),
        ("006208", "006208", "twse"),
        ("00679B", "00679B", "tpex"),
        ("00679b", "00679B", "tpex"),
        ("台南-ky", "5906", "twse"),
    ],
)
def test_other_spellings_boards_and_funds(told: str | int, symbol: str, board: str) -> None:
    company = company_of(told)
    assert (company.symbol, company.board) == (symbol, board)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("9105", "9105 泰金寶-DR is a depositary receipt; "),
        ("020000", "is an exchange-traded note; "),
        ("00636K", "is a fund that trades in a foreign currency; .*near: 00636 "),
        ("3150", "is a stock of the innovation board; "),
        ("1101B", "is a preferred stock; .*near: 1101 台泥"),
        ("01001T", "is a real estate trust; "),
    ],
)
def test_refuses_what_is_no_common_stock_or_fund(told: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        company_of(told)


def test_refuses_a_warrant_and_names_the_company_behind_it() -> None:
    from twstock.codes import codes

    warrant = next(row for row in codes.values() if "權證" in row.type and row.name.startswith("欣銓"))
    with pytest.raises(Refused, match=f"^{warrant.code} {warrant.name} is a warrant; .*near: 3264 欣銓$"):
        company_of(warrant.code)


@pytest.mark.parametrize(
    ("told", "near"), [("台積", "2330 台積電"), ("聯發科技", "2454 聯發科"), ("日月光", "3711 日月光投控")]
)
def test_an_unknown_name_gets_the_near_ones(told: str, near: str) -> None:
    with pytest.raises(Refused, match=f"^{told}: no such stock; .*near: .*{near}") as failed:
        company_of(told)
    assert str(failed.value).count(",") <= 2


@pytest.mark.parametrize("told", ["", "qwertyuiop", 99999999, -1, "\n"])
def test_nonsense_is_refused_too(told: str | int) -> None:
    with pytest.raises(Refused, match="no such stock"):
        company_of(told)
