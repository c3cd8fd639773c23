"""What computes a task, in a child process that is watched."""
