"""A small exchange on loopback that speaks the real wire formats, on a clock that the caller moves."""
