"""A fleet of a thousand workers on a virtual clock: what no machine here can be asked to run.

Belongs here: the model of a fleet (workers, stores, one queue server) as discrete events, and the
figures of a run. Every change of a task goes through the product's own ``scheduler.states``, every
shard, range and part through its own ``mover.sharding``, ``mover.planning`` and ``mover.sizing``;
only time and chance are modelled. Nothing here does input or output but ``command``, which prints.
``docs/scaling.md`` says what is modelled how, and what came out.
"""
