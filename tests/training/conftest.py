import pytest
from songs import MODELS, counting_songs

from nextword.data.token_files import TokenFiles


@pytest.fixture
def files(tmp_path) -> TokenFiles:
    return counting_songs(tmp_path / "tokens")


@pytest.fixture(params=MODELS)
def name(request) -> str:
    return request.param
