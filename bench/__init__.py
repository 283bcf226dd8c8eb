"""Measurements: the mover beside its peers, in one run, on one machine.

Belongs here: seeded data sets, launchers of real servers and peers, timing, and the tables made of
the results. A number leaves this package only together with the machine and the spread.
Nothing here is imported by the product.
"""
