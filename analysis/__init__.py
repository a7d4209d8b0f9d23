"""What orders are: estimated from measurements (`convergence`)."""
