"""What Interlock bears: overload, noisy neighbours, slow clients, hostile servers, many calls."""
