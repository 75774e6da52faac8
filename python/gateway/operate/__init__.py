"""What operators look at: health, metrics, live limits."""
