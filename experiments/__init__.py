"""Studies of encoders: the command line, runs, workers and reports."""
