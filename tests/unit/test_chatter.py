"""Libraries are silenced, except for warnings that a result may be wrong."""

import logging
import warnings

from kdprobe.models.chatter import quiet


def warn(text, category=UserWarning, package="peft"):
    warnings.warn_explicit(text, category, f"/somewhere/site-packages/{package}/module.py", 1)


def test_warnings_of_peft_and_transformers_are_shown_once(capsys):
    before = logging.getLogger("transformers").handlers, warnings.showwarning
    for _ in range(2):
        with quiet():
            warn("the adapter may be\n  wrong")
            logging.getLogger("transformers.modeling").warning("the model may be wrong")
            with quiet():
                warn("so may another", package="transformers")
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        "Warning: the adapter may be wrong",
        "Warning: the model may be wrong",
        "Warning: so may another",
    ]
    assert (logging.getLogger("transformers").handlers, warnings.showwarning) == before


def test_chatter_is_not(capsys):
    with quiet():
        warn("old", FutureWarning)
        warn("of another library", package="torch")
        warn("Found missing adapter keys while loading the checkpoint: []")
        logging.getLogger("transformers.modeling").info("loading")
    assert capsys.readouterr().err == ""
