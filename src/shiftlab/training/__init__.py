"""Training: the loop, and where an unfinished one waits."""
