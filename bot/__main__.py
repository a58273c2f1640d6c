"""`python -m bot` is `twtrader`."""

from bot.cli import main

if __name__ == "__main__":
    main()
