"""A faulty network for tests: a proxy that resets, cuts, stalls, lies and answers errors by script.

Belongs here: what can go wrong between a client and a store, and counting what went over the wire.
Faults inside a transport are ``transports.faults``; these are outside, where only bytes are.
"""
