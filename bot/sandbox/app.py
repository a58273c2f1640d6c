"""One application with every server the daemon talks to, each under its own prefix."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from bot.sandbox.chat import LLM_ROUTES
from bot.sandbox.control import CONTROL_ROUTES
from bot.sandbox.ex_rights import TPEX_EX_ROUTES, TWSE_EX_ROUTES
from bot.sandbox.exchange import TPEX_ROUTES, TWSE_ROUTES
from bot.sandbox.faults import FaultMiddleware, Wire
from bot.sandbox.newsapi import NEWSAPI_ROUTES
from bot.sandbox.rss import RSS_ROUTES
from bot.sandbox.stock_api import STOCK_API_ROUTES
from bot.sandbox.world import World


def app_of(world: World) -> Starlette:
    """The ASGI application that serves `world`."""
    wire = Wire()
    app = Starlette(
        routes=[
            Mount("/twse", routes=[*TWSE_ROUTES, *TWSE_EX_ROUTES]),
            Mount("/tpex", routes=[*TPEX_ROUTES, *TPEX_EX_ROUTES]),
            Mount("/newsapi", routes=NEWSAPI_ROUTES),
            Mount("/rss", routes=RSS_ROUTES),
            Mount("/llm", routes=LLM_ROUTES),
            Mount("/stock", routes=STOCK_API_ROUTES),
            Mount("/sandbox", routes=CONTROL_ROUTES),
        ],
        middleware=[Middleware(FaultMiddleware, wire=wire)],
    )
    app.state.world = world
    app.state.wire = wire
    return app
