"""Linear stability: amplification, regions, the root condition."""
