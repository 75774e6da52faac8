"""What Interlock costs: in the core, through the boundary to Python, and on the whole path."""
