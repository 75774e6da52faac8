"""For people who write policies: what a policy would do, before it does it.

INVARIANT: nothing that decides or forwards imports anything of this package.
"""
