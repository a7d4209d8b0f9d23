"""The one sampling loop and what stands around it: noise, guidance, correctors, step control."""
