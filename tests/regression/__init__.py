"""Proofs that a change of the code left every number as it was: against older code, and against files that it wrote."""
