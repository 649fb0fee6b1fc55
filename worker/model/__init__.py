"""Kolors itself, in diffusers' own classes: loading, prompts, solvers, safety."""
