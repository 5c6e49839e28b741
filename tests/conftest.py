"""Being here, this file puts the folder on the import path: any test may `from toys import ...`."""

import os
import signal

import hypothesis
import pytest

# As the command line does for itself: torch's threads must not spin while other programs want the core.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# Models of a few hundred weights are not computed faster by two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in the background with Ctrl-C ignored, and every process that a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("nextword", deadline=None)  # a busy machine is not a failing test
hypothesis.settings.load_profile("nextword")

LONG = (
    "training/test_compiling.py",
    *("cli/test_demo.py", "cli/test_doctor_command.py", "cli/test_main.py", "cli/test_train.py"),
    *("cli/test_train_data.py", "cli/test_tuning.py", "cli/test_watch.py", "training/test_freezing.py"),
    *("training/test_doctor.py", "training/test_soup.py", "text/test_template.py"),
    *("constraints/test_constraints.py", "data/test_batches.py", "data/test_mixture.py", "decoding/test_beam.py"),
    *("interop/test_crossing.py", "interop/test_lm_eval.py", "interop/test_onnx.py", "interop/test_weights.py"),
    *("decoding/test_speculative.py", "models/test_kernels.py", "test_decoding_pictures.py", "test_drafting.py"),
    *("interop/test_gguf.py", "interop/test_gguf_export.py", "interop/test_hostile_files.py"),
    *("test_readme.py", "tokenizers/test_tokenizers.py", "tokenizers/test_training.py"),
    *("tokenizers/test_unigram.py", "training/test_crash.py", "training/test_distributed.py"),
    *("training/test_order.py", "training/test_resume.py", "training/test_trainer.py"),
    *("training/test_encoding_runs.py", "generator/test_searches.py", "generator/test_generator.py"),
)
"""Modules that take more than some three seconds: four fifths of the time of `make test`, left out of `make check`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of LONG."""
    for item in items:
        if item.path.as_posix().endswith(LONG):
            item.add_marker(pytest.mark.long)
