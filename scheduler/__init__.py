"""Work in time: who may do what, and until when.

Belongs here: tasks, leases, retries, quotas, the worker loop and the stores that keep them.
A task is an envelope (an id, an opaque payload, an attempt); this package never sees a byte of
data, a URL or a secret, and never imports ``transports`` or ``mover``.
What a payload means is decided in ``mover``; how bytes are kept is decided in ``transports``.

Everything is imported from its own module (``scheduler.store``, ``scheduler.sqlite_store`` and so
on): a command that needs one of them should not pay for all.
"""
