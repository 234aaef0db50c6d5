"""The demo: a synthetic region made by code, served as a real catalogue, and compared with what was planted."""
