"""Prewarming: fill a cache by reading through it, and prove that it is full.

Pure values and decisions: what was asked, which node holds what, what a look at a cache came to, how many
readers pay, what goes when a cache is full. Nothing here reads a file or asks a clock; the modules
``mover.prewarm_*`` do. How it works is told in docs/prewarm.md.
"""
