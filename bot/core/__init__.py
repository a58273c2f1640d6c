"""The thinking part: no clock, network, files or randomness; imports itself and bot.errors only.

market -> costs, fills -> orders -> portfolio        prompt -> forecast -> decide
"""
