"""The six stages of a trading day; bot/day.py runs them and records how they went.

stage.py      Ports, Outcome        what a stage gets and gives back
prices.py     gather_bars           15:00  both boards, through the gate
settle.py     settle_orders         15:45  the broker's book against the journal
news.py       gather_news           17:00  headlines
forecast.py   ask_model             18:00  the LLM
decide.py     decide_orders         18:20  forecasts -> orders, journalled
send.py       send_orders           18:30  orders -> broker, each at most once
"""
