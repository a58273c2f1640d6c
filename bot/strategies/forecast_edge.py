"""The shipped rule: buy the best forecasts after costs, sell on stop, profit, age, a bad forecast or bad news."""

from bot.core.rule import REASONS, plan_orders

__all__ = ["REASONS", "plan"]

plan = plan_orders
