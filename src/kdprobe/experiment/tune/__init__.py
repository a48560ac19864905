"""Searching a distiller's options on validation problems, resumably."""
