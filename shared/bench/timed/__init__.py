"""The programs that the bench runs, each in a process of its own, beside the two sides."""
