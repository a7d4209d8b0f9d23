"""The process: noise schedules, grids of times, predictions of a model, the forward SDE."""
