"""What compares two records."""
