"""Delta sync: find in old bytes what new bytes are made of, and say so in few operations.

Pure, and a kernel in C behind one door (``kernel``). Nothing here reads a store or asks a clock: the
flows of ``mover`` bring the bytes. How it works is told in docs/delta.md.
"""
