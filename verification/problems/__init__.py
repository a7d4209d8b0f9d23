"""Laws with exact scores and flows, and references where there is none."""
