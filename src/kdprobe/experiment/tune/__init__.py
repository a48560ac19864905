"""Search over a distiller's options on validation problems, resumable."""
