"""`twtrader forecast` and `twtrader sentiment`: ask the model by hand. bot/cli.py mounts them; nothing heavy here."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import DataMissing, EngineFailed, Refused

if TYPE_CHECKING:
    from bot.config import Config, ModelConfig
    from bot.core.forecast import Forecast
    from bot.forecast_view import Answer
    from bot.ports import Company, Question

JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def forecast(  # noqa: PLR0917
    context: typer.Context,
    company: Annotated[str, typer.Argument(help="A code or a name, like 2330, 台積電 or TSMC.")],
    past: Annotated[
        int | None, typer.Option(min=1, help="Bars in the question; default: `model.past_sessions`.")
    ] = None,
    future: Annotated[
        int | None, typer.Option(min=1, help="Bars in the answer; default: `model.future_sessions`.")
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="Ask as after the close of this day; default: the newest.")] = None,
    said: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="TEXT", help="A headline or your own words; may be repeated."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "--prices", help="Bars from this folder of CODE.csv files, not the store.")
    ] = None,
    paths: Annotated[
        int | None, typer.Option(min=0, help="Read the band along so many paths; 0: along the median alone.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the K-line into FILE.html or FILE.png.")
    ] = None,
    as_json: JsonOption = False,  # noqa: FBT002
) -> None:
    """Ask the model for the next window of prices of one stock, beside what came true where that is known."""
    from rich.console import Console

    from bot.chart_colours import colours_of
    from bot.config_file import load_config
    from bot.core.prompt import CONTEXT_LINES
    from bot.find_company import find_company
    from bot.forecast_plot import check_plot, write_plot
    from bot.forecast_view import facts, table_of
    from bot.universe import load_universe

    config = _along(load_config(context.obj), paths)
    until = _day(as_of)
    if len(said or ()) > CONTEXT_LINES:
        raise Refused(f"{len(said or ())} times --context: {CONTEXT_LINES} are told at most")
    if plot is not None:
        check_plot(plot)
    asked = find_company(company, load_universe(config.universe))
    answer = _answer(
        config,
        asked,
        past or config.model.past_sessions,
        future or config.model.future_sessions,
        until=until,
        folder=data,
        said=tuple(said or ()),
    )
    if plot is not None:
        write_plot(answer, plot, colours_of(config.backtest.up))
    if as_json:
        typer.echo(_json(facts(answer) | ({"plot": str(plot)} if plot else {})))
        return
    Console().print(table_of(answer))
    if plot is not None:
        typer.echo(f"drawn in {plot}")


def sentiment(
    context: typer.Context,
    texts: Annotated[list[str] | None, typer.Argument(help="Headlines.")] = None,
    file: Annotated[Path | None, typer.Option(help="One headline a line.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002
) -> None:
    """Ask the model for the mood of headlines: the probabilities of positive, neutral and negative, and doubts."""
    from bot.config_file import load_config
    from bot.sentiment_view import print_sentiment, read_titles

    config = load_config(context.obj)
    print_sentiment(config.model, config.news, read_titles(texts or [], file), as_json=as_json)


def _along(config: Config, paths: int | None) -> Config:
    """`config` with `paths` for the band. Where neither says how many, one question has time for the usual ones.

    Raises:
        Refused: so many there can't be, or what the config means reads no bands along paths.
    """
    from bot.adapters.engine_ways import USUAL_PATHS

    told = config.model
    if paths is None:
        if told.paths != "auto":
            return config
        paths = USUAL_PATHS
    elif not told.bands:
        raise Refused("--paths: the config asks for no bands (model.bands = false)")
    elif told.engine not in {"transformers", "unsloth"} or told.style != "codes":
        raise Refused(f'--paths: engine "{told.engine}" in style "{told.style}" reads no bands along paths')
    try:
        return replace(config, model=replace(config.model, paths=paths))
    except ValueError as wrong:
        raise Refused(str(wrong)) from wrong


def _answer(
    config: Config,
    company: Company,
    past: int,
    future: int,
    *,
    until: date,
    folder: Path | None,
    said: tuple[str, ...],
) -> Answer:
    """What the model says after `until`, from what was known then, and what came.

    Raises:
        DataMissing: fewer bars than `past` were known.
        Refused: the model, the store or the folder is not there.
        EngineFailed: the model abstains.
    """
    from bot.core.exrights import in_prices_of
    from bot.forecast_view import Answer
    from bot.known_bars import read_known
    from bot.ports import Question

    symbol = company.symbol
    known = read_known(config, folder, symbols=[symbol])
    bars, events = known.bars.get(symbol, ()), known.events.get(symbol, ())
    told = [bar for bar in bars if bar.session <= until]
    if len(told) < past:
        raise DataMissing(f"{symbol}: {len(told)} bars up to {_words(until)} are known, {past} are asked for")
    as_of = told[-1].session
    window = in_prices_of([*told[-past:], *bars[len(told) : len(told) + future]], events, as_of)
    question = Question(company=company, bars=tuple(window[:past]), future_sessions=future, context=said)
    came = tuple(window[past:])
    last = came[-1].session if came else as_of
    went_ex = tuple(sorted({event.ex_date for event in events if as_of < event.ex_date <= last}))
    return Answer(
        company=company,
        past=question.bars,
        forecast=_asked(config.model, question),
        came=came,
        went_ex=went_ex,
        context=said,
    )


def _asked(config: ModelConfig, question: Question) -> Forecast:
    """The engine's answer.

    Raises:
        EngineFailed: it abstains, or is gone.
    """
    from bot.ports import Explains
    from bot.wiring import engine_of

    engine = engine_of(config)
    try:
        (told,) = engine.forecast([question])
    finally:
        engine.close()
    if told is None:
        reasons = engine.abstentions if isinstance(engine, Explains) else {}
        why = ", ".join(reasons) or "the question does not fit into its window"
        raise EngineFailed(f"{question.company.symbol}: {engine.model} abstains: {why}")
    return told


def _day(text: str | None) -> date:
    """`text` as a date; the last there is when it is None.

    Raises:
        Refused: it is no ISO date.
    """
    if text is None:
        return date.max
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(f"{text!r} is no date; write 2025-03-31") from wrong


def _words(until: date) -> str:
    return "now" if until == date.max else str(until)


def _json(value: Any) -> str:
    """Any of our values as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode()
