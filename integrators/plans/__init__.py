"""A solver, a schedule and a grid compiled to numbers; plans as data and as files."""
