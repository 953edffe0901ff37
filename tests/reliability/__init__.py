"""Proof that nothing is lost: fuzzing, flipped bits and kills, each a command that writes its result."""
