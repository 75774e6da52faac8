"""The path over sockets: a load generator, a proxy and a server, each pinned to its core."""
