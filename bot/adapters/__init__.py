"""The touching part: one file per outside thing, named <thing>_<what>.py. Foreign rows become our types at the door."""
