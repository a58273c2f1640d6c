"""Trading rules by name: `rules.strategy` in config.toml -> registry.find_strategy -> live, replay and sweep alike.

A module here or of the user's own has a function `plan` (bot/core/rule.py, Plan) and may have REASONS; see
docs/strategies.md.
"""
