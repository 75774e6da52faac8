"""Calls that a person must approve: where they wait, and who said what of them."""
