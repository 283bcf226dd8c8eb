"""Pure: what a transfer proved.

A byte is proven when every network that it crossed ended in a comparison of checksums: the reader
compared the store's checksum with what came, the store compared ours with what it got. A local end
needs none while the bytes pass, because the kernel does not lose bytes; between two local ends
nothing was compared, so that is weak until ``--verify full`` reads it again.
"""

from transports.model import Capabilities, Proof


def proof_of(read: Proof, written: Proof, source: Capabilities, target: Capabilities) -> Proof:
    """How well one object was verified on its way from ``source`` to ``target``."""
    if source.local and target.local:
        return Proof.STRONG if read is Proof.STRONG and written is Proof.STRONG else Proof.WEAK
    ends = [Proof.STRONG if source.local else read, Proof.STRONG if target.local else written]
    for level in (Proof.NONE, Proof.WEAK):
        if level in ends:
            return level
    return Proof.STRONG
