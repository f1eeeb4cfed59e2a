"""Predicted images in the report: tables, verdict, and pictures within the page."""

import base64
import io
import re

import numpy as np
import pytest

import shoal as sh
from shoal.report._images import png


@pytest.fixture(scope="module")
def judged():
    adata = sh.ds.simulate_images(n_perturbations=2, n_cells=40, n_control=60, size=16, rng=0)
    sh.pp.prepare_images(adata, use_rep="crops")
    own = list(adata.obs["perturbation"].astype(str))
    start = adata.obs_names[np.arange(adata.n_obs) % 60]
    made = sh.ds.counterfactual_images(adata, own, cells=list(start))
    adata.obsm["X_mine"] = made.astype(np.float32)
    adata.obs["mine_source"] = start
    sh.tl.evaluate_images(
        adata, prediction="mine", use_rep="crops", nucleus="DNA", split=None, n_draws=1
    )
    return adata


def read(content):
    plt = pytest.importorskip("matplotlib.image")
    return plt.imread(io.BytesIO(content), format="png")


def test_a_png_is_read_back():
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    np.testing.assert_allclose(read(png(picture))[..., :3] * 255, picture, atol=0.01)


def test_the_page_has_verdict_tables_and_pictures(judged, tmp_path):
    pytest.importorskip("plotly")
    text = sh.tl.report(judged, out=tmp_path / "report.html").read_text()
    assert '<section id="images">' in text
    assert "scores" in text
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(found) == 2
    picture = read(base64.b64decode(found[0]))
    assert picture.shape[:2] == (3 * 16 + 4, 8 * 16 + 14)
    assert picture.std() > 0.05
    assert "Controls, predicted and real cells of P1" in text
    assert "control_copy" in text
    assert "no held-out split" in text


def test_without_the_images_the_tables_stay(judged, tmp_path, caplog):
    pytest.importorskip("plotly")
    adata = judged.copy()
    del adata.obsm["X_mine"]
    text = sh.tl.report(adata, out=tmp_path / "report.html").read_text()
    assert "Controls, predicted and real cells" not in text
    assert "no pictures" in caplog.text


def test_from_a_file_by_the_shell(judged, tmp_path):
    pytest.importorskip("plotly")
    from typer.testing import CliRunner

    from shoal.cli import app

    judged.write_h5ad(tmp_path / "screen.h5ad")
    out = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", str(tmp_path / "screen.h5ad"), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "Controls, predicted and real cells of P2" in out.read_text()
