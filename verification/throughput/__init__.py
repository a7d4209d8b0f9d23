"""What a step costs, beside lower bounds and other libraries: on a CPU and on a GPU."""
