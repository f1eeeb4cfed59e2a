"""The page in a real browser: no request, no error, hover, click, sort, search, light, dark and print."""

from __future__ import annotations

import csv
import os
import shutil

import pytest

import shoal as sh
from shoal.tl._report import report

from .conftest import NASTY, big, leaderboard

for library in ("plotly", "itables", "jinja2"):
    pytest.importorskip(library, reason=f"{library}, of the extra report, is not installed")
driver = pytest.importorskip(
    "playwright.sync_api", reason="the Python package playwright is not installed"
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
BROWSER = os.environ.get("SHOAL_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None,
        reason=f"none of {', '.join(NAMES)} is on the PATH (or set SHOAL_BROWSER to a Chromium)",
    ),
]


@pytest.fixture(scope="module")
def browser():
    with driver.sync_playwright() as play:
        found = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def path(judged, tmp_path_factory):
    return report(judged, out=tmp_path_factory.mktemp("page") / "report #1.html")


@pytest.fixture
def visit(browser):
    """Return a function that opens a page; afterwards it must have asked for nothing and complained of nothing."""
    opened, trouble, asked = [], [], []

    def go(path, *, width=1400, **more):
        page = browser.new_page(viewport={"width": width, "height": 900}, **more)
        page.set_default_timeout(120_000)  # a busy machine
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        opened.append(page)
        return page

    yield go
    for page in opened:
        assert page.evaluate("window.hacked") is None
        page.close()
    assert trouble == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def spot(page, name):
    """Zoom in on a perturbation, so that no neighbour covers it, and return where it is on the screen."""
    page.locator("#plane").scroll_into_view_if_needed()
    return page.evaluate(
        """async name => {
          const plane = document.getElementById("plane");
          const trace = plane._fullData.find((one) => one.customdata?.some((row) => row[0] === name));
          const i = trace.customdata.findIndex((row) => row[0] === name), at = [trace.x[i], trace.y[i]];
          const [x, y] = at.map((value) => [value - 0.01, value + 0.01]);
          const named = new Promise((done) => plane.on("plotly_relayout", (change) => "annotations" in change && done()));
          await Plotly.relayout(plane, { "xaxis.range": x, "yaxis.range": y });
          await named; // drawn anew, with names in other places: a click that had begun would be lost
          const box = plane.getBoundingClientRect(), { xaxis, yaxis } = plane._fullLayout;
          return [box.x + xaxis._offset + xaxis.d2p(at[0]), box.y + yaxis._offset + yaxis.d2p(at[1])];
        }""",
        name,
    )


def column(page, table, at):
    return page.locator(f"#table-{table} tbody tr td:nth-child({at})").all_inner_texts()


@pytest.mark.parametrize("name", ["P07", *NASTY])
def test_hover_names_a_perturbation_and_click_opens_its_panel(visit, path, judged, name):
    page = visit(path)
    row = judged.uns["coherence"]["table"].loc[name]
    at = spot(page, name)
    page.mouse.move(*at)
    page.wait_for_selector("#plane .hovertext")
    told = page.locator("#plane .hovertext").text_content()
    assert name in told
    assert f"coherence {row['coherence']:.3f}" in told.replace("−", "-")
    page.mouse.click(*at)
    page.wait_for_selector("#panel:not([hidden])")
    assert page.locator("#panel h2").text_content() == name
    body = page.locator("#panel-body").inner_text()
    assert f"{row['coherence']:.3f}" in body
    assert f"Prediction: {name} | day 1" in body
    assert f"Prediction: {name} | day <7>" in body
    first = page.locator("#panel table").first.locator("tbody tr").last
    assert len(first.locator("td").all()) == 5  # metric, prediction, best baseline, both controls
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()


def test_the_plane_is_not_drawn_anew_without_a_reason(visit, path):
    page = visit(path)
    drawn = page.evaluate(
        """async () => {
          const plane = document.getElementById("plane"), drawn = [];
          plane.on("plotly_relayout", (change) => drawn.push(Object.keys(change)));
          await new Promise((done) => setTimeout(done, 600));
          return drawn;
        }"""
    )
    assert drawn == []


def test_a_name_in_a_table_opens_the_panel_and_marks_the_point(visit, path, judged):
    page = visit(path)
    page.locator("#table-conditions button.name", has_text="P07").first.click()
    assert page.locator("#panel h2").text_content() == "P07"
    ring = page.evaluate("document.getElementById('plane').data.at(-1)")
    row = judged.uns["coherence"]["table"].loc["P07"]
    assert (ring["x"][0], ring["y"][0]) == pytest.approx(
        (row["magnitude"], row["coherence"]), rel=1e-3
    )
    page.locator("#close").click()
    assert page.locator("#panel").is_hidden()


def test_a_perturbation_that_was_not_predicted_says_so(visit, path):
    page = visit(path)
    page.locator("#table-coherence_wrapper input[type=search]").fill("P40")
    page.locator("#table-coherence button.name").first.click()
    assert "No prediction of it was evaluated." in page.locator("#panel-body").inner_text()


def test_tables_sort_by_value_and_search(visit, path, judged):
    page = visit(path)
    table = judged.uns["coherence"]["table"]
    page.locator("#table-coherence thead th", has_text="qvalue").first.click()
    page.wait_for_selector("#table-coherence thead th[aria-sort=ascending]")
    best = table.sort_values("qvalue", kind="stable")
    assert best["qvalue"].iloc[0] < 0.001
    assert column(page, "coherence", 5)[0] == "< 0.001"
    assert column(page, "coherence", 1)[0] == best.index[0]
    search = page.locator("#table-coherence_wrapper input[type=search]")
    for text in ("P07", "<b>bold", "onerror", "</script>"):
        search.fill(text)
        driver.expect(page.locator("#table-coherence tbody tr")).to_have_count(1)
        assert text in column(page, "coherence", 1)[0]
    search.fill("nobody")
    assert "No matching records" in page.locator("#table-coherence tbody").inner_text()
    page.locator("#table-leaderboard thead th", has_text="seconds").click()
    page.wait_for_selector("#table-leaderboard thead th[aria-sort=ascending]")
    assert column(page, "leaderboard", 1) == leaderboard()["seconds"].sort_values().index.tolist()


def test_no_button_uploads_a_figure(visit, path):
    page = visit(path)
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map((one) => one.dataset.title)")
    assert "Download plot as a PNG" in titles
    assert not [title for title in titles if "hare" in title or "loud" in title]


def test_hidden_columns_can_be_shown_and_tables_saved(visit, path, judged):
    page = visit(path)
    assert "kappa" not in page.locator("#table-coherence thead").inner_text()
    page.locator("#table-coherence_wrapper button", has_text="Columns").click()
    page.locator(".dt-button-collection button", has_text="kappa").first.click()
    assert "kappa" in page.locator("#table-coherence thead").inner_text()
    page.keyboard.press("Escape")
    with page.expect_download() as saved:
        page.locator("#table-leaderboard_wrapper button", has_text="CSV").click()
    assert '"flow","0.27","95.5","b"' in saved.value.path().read_text()
    with page.expect_download() as saved:
        page.locator("#table-coherence_wrapper button", has_text="CSV").click()
    with saved.value.path().open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    table = judged.uns["coherence"]["table"]
    assert set(head) == {"perturbation", *table.columns}
    assert {row[0].removeprefix("'") for row in rows} == set(table.index)


@pytest.mark.parametrize("width", [1400, 800, 400])
def test_nothing_is_clipped_and_nothing_overprints(visit, path, width):
    page = visit(path, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = """all => all.filter((one) => one.offsetParent && one.scrollWidth > one.parentElement.clientWidth + 1)
        .map((one) => [one.id, one.scrollWidth, one.parentElement.clientWidth])"""
    assert page.eval_on_selector_all("table.dataTable", wide) == []
    page.wait_for_selector("#plane .annotation-text")
    page.wait_for_timeout(500)
    boxes = """all => all.map((one) => one.getBoundingClientRect()).map((b) => [b.left, b.top, b.right, b.bottom])"""
    for figure in ("#plane .annotation-text", "#skills .ytick text", "#skills .xtick text"):
        several = page.eval_on_selector_all(figure, boxes)
        assert len(several) > 2
        for i, one in enumerate(several):
            for other in several[:i]:
                apart = (one[2] <= other[0] + 1, other[2] <= one[0] + 1,
                         one[3] <= other[1] + 1, other[3] <= one[1] + 1)  # fmt: skip
                assert any(apart), (figure, one, other)


@pytest.mark.parametrize("width", [1400, 800, 400])
def test_figures_are_as_wide_as_their_places(visit, tmp_path, width):
    """Each is drawn while the page is read, when those beside it are not there yet."""
    adata = sh.ds.simulate(n_perturbations=6, n_cells=40, n_genes=60, effect_size=5.0, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="made", subset="test")
    sh.tl.evaluate(adata, prediction="made", baselines=["perturbed_mean"], n_draws=1)
    page = visit(report(adata, out=tmp_path / "r.html"), width=width)
    places = page.evaluate(
        """() => [...document.querySelectorAll(".js-plotly-plot")].map((figure) =>
            [figure.closest(".cells") !== null, figure.clientWidth, figure.querySelector(".main-svg").clientWidth])"""
    )
    assert sum(among_cells for among_cells, *_ in places) == 2
    assert all(drawn == place for _, place, drawn in places)


def test_failures_and_parameters_are_folded_and_last(visit, path):
    page = visit(path)
    order = page.eval_on_selector_all("section[id]", "all => all.map((one) => one.id)")
    assert (order[0], order[-1]) == ("verdict", "details")
    assert page.locator("#table-missing").is_hidden()
    assert page.locator(".parameters").is_hidden()
    page.locator("summary", has_text="could not be computed").click()
    assert "no variance" in page.locator("#table-missing").inner_text()


def test_paper_has_no_half_empty_page(visit, path):
    """The plane starts on the first page, and figures leave no gap as high as they were on the screen."""
    page = visit(path)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    heights = page.eval_on_selector_all(
        ".js-plotly-plot",
        "all => all.map((one) => [one.parentElement.offsetHeight, one.layout.height])",
    )
    assert all(box == drawn for box, drawn in heights)
    page.emulate_media(media="print")
    breaks = page.eval_on_selector_all(
        "section", "all => all.map((one) => getComputedStyle(one).breakBefore)"
    )
    assert set(breaks) == {"auto"}
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.getElementById('plane').offsetHeight") == 560


def test_metrics_that_do_not_discriminate_look_so(visit, path, judged):
    page = visit(path)
    muted = page.locator("#table-metrics tbody tr.muted td:first-child").all_inner_texts()
    summary = judged.uns["evaluation"]["summary"]
    assert set(muted) == set(summary.index[~summary["discriminates"]])


LUMINANCE = """selector => {
  const style = getComputedStyle(document.querySelector(selector));
  const level = (c) => { const v = c.match(/[\\d.]+/g).map(Number); return v[3] === 0 ? null : (v[0] + v[1] + v[2]) / 765; };
  return [level(style.color), level(style.backgroundColor), level(style.fill)];
}"""


@pytest.mark.parametrize(
    ("scheme", "media", "dark"),
    [("light", "screen", 0), ("dark", "screen", 1), ("dark", "print", 0)],
)
def test_light_dark_and_print(visit, path, scheme, media, dark):
    page = visit(path, color_scheme=scheme)
    page.emulate_media(color_scheme=scheme, media=media)
    ink, paper, _ = page.evaluate(LUMINANCE, "body")
    assert (ink > 0.8 and paper < 0.2) if dark else (ink < 0.2 and paper > 0.8)
    for text in ("#plane .xtick text", "#skills .ytick text", "#plane .legendtext"):
        assert (page.evaluate(LUMINANCE, text)[2] > 0.8) == bool(dark)
    cell = page.evaluate(LUMINANCE, "#table-metrics tbody tr:first-child td")[0]
    assert (cell > 0.8) == bool(dark)
    if media == "print":
        assert page.locator("#table-metrics_wrapper .dt-search").is_hidden()
        assert len(page.pdf()) > 20_000


@pytest.mark.parametrize("left", ["coherence", "evaluation"])
def test_a_part_alone(visit, judged, tmp_path, left):
    adata = judged.copy()
    for key in {"coherence", "evaluation", "leaderboard"} - {left}:
        del adata.uns[key]
    page = visit(report(adata, out=tmp_path / "part.html"))
    page.locator("button.name", has_text="P07").first.click()
    assert page.locator("#panel h3").first.text_content() == {"coherence": "Coherence", "evaluation": "Prediction: P07 | day 1"}[left]  # fmt: skip


def test_thousands_of_perturbations_can_be_used(visit, tmp_path):
    page = visit(report(big(2000), out=tmp_path / "big.html"))
    page.locator("#table-conditions_wrapper input[type=search]").fill("GENE1234")
    page.locator("#table-conditions button.name").click()
    assert page.locator("#panel h2").text_content() == "GENE1234"
