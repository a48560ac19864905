"""`kdprobe.probe` of a local model, in a test."""


def probed(record, problem_file, analyses, **given):
    """Probes a model without plugins; `given` are further arguments, such as adapters and the data type."""
    import kdprobe

    return kdprobe.probe(
        str(record.path), problems=problem_file, analyses=analyses, progress=False, no_plugins=True, **given
    )
