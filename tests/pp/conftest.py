from __future__ import annotations

import pytest


@pytest.fixture
def rdkit():
    return pytest.importorskip(
        "rdkit", reason="rdkit absent, molecules untested: pip install 'shoal[chem]'"
    )
