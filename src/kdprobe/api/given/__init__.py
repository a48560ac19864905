"""Interprets the arguments of calls: answers, configs, functions, options and problems."""
