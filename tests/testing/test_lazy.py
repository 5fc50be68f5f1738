import subprocess
import sys

ALONE = """
import sys
sys.modules["pytest"] = None
import offnormal.testing
assert not {"torch", "numpy", "offnormal.registry"} & sys.modules.keys(), "imported before it is used"
for name in offnormal.testing.__all__:
    assert callable(getattr(offnormal.testing, name))
"""


def test_checks_are_imported_on_first_use_without_pytest():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
