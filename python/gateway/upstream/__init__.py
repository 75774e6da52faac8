"""The servers behind the gateway; nothing here knows of policy."""
