"""twtrader's daemon.

bars + articles -> question -> Forecast -> decide -> Order -> broker -> Fill -> Portfolio
(adapters)         (core)      (adapter)   (core)             (adapter)         (core)

core/      thinks          adapters/  touches the world       sandbox/   a small exchange on loopback
day.py     gather -> decide -> act    daemon.py  the timetable    status.py  the terminal view    cli.py  the commands
"""
