"""What looks on while a program runs. It needs torch alone."""
