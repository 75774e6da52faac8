"""The executable specification: a slow, obvious second reading of the policy language.

INVARIANT: nothing in this package imports `gateway`. It is written from the documented meaning of a
policy, with Python's unbounded integers and `Fraction`, and shares neither code nor data structures
with the engine, so a mistake has to be made twice, in two ways, to go unseen.
"""
