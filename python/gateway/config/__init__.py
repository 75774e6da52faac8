"""The configuration file: read, checked, filled with its secrets, and made into `Settings`.

Nothing of it is loaded by a sidecar that has no configuration file.
"""
