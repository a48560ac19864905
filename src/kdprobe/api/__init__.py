"""The Python API: one function for each command of the command line; `import kdprobe` exports them all."""
