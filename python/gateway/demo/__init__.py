"""A bundled MCP server, a policy for it, and a client that shows what the sidecar does."""
