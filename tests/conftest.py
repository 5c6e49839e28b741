"""Being here, this file puts the folder on the import path: any test may `from toys import ...`."""

import os

import hypothesis

# As the command line does for itself: torch's threads must not spin while other programs want the core.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

hypothesis.settings.register_profile("nextword", deadline=None)  # a busy machine is not a failing test
hypothesis.settings.load_profile("nextword")
