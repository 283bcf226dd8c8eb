"""Bytes at rest: list, read, write and verify objects in any store.

Belongs here: the ``Transport`` port, one thin adapter per kind of store, the decorators that any
adapter can wear (retry, record, limit, throttle, faults), and the contract suite that each adapter
runs. Every third-party storage library enters the house through one module of this package.
Does not belong here: what should move and why (``mover``), who works on it and when
(``scheduler``). This package imports neither.

Everything is imported from its own module (``transports.base``, ``transports.model`` and so on): a
command that needs one of them should not pay for all.
"""
