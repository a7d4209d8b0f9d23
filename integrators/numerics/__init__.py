"""Numbers and functions of numbers: no diffusion, no solver."""
