"""Weights and programs of others, brought in as cards."""
