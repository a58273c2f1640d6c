"""A small exchange on loopback that speaks the real wire formats, on a clock that the caller moves.

serve ── app ── faults (counts, breaks on demand)
          ├── exchange   TWSE, TPEx routes    ──┐      (what they answer: *_payloads, of exchange_cells)
          ├── newsapi    NewsAPI payloads     ──┼── world: clock + market + books at one moment
          ├── stock_api  the stock API        ──┤      ├── market    what is published by now
          └── control    /sandbox/...         ──┘      │     ├── replay     bars from CSV files
                                                       │     └── generator  bars from a seed
process    starts it as a child, for tests and demo    └── account   orders, settlement; pure
"""
