"""Plan, executors and store of a run."""
