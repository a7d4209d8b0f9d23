"""Model statistics of DPM-Solver-v3: as functions, as tables, in files, estimated."""
