"""What moves, and why: listing, comparing, planning, copying, and the commands on top.

Belongs here: the pure core (model, comparing, planning, sharding, sizing, filtering), the executors
that act on a plan, the flows behind each command, and the doors to people: command line, Python
API, displays. ``mover.wiring`` is the one module that knows every concrete class.
Does not belong here: how a store is spoken to (``transports``) or how work is leased
(``scheduler``); both are used through their ports.
"""

__version__ = "0.1.0"
