"""What is claimed of each solver, what is expected, which solvers are one."""
