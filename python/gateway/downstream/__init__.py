"""The doors: where agents come in."""
