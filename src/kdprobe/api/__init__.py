"""The Python API: everything that the command line can do, one function each; `import kdprobe` has them all."""
