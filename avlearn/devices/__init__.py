"""Processes, device meshes, reductions and compilation."""
