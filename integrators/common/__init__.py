"""Arguments and their words, messages, files and pickles: what every room stands on, and no mathematics."""
