"""One frame and one set of styles for every page."""

from pathlib import Path

from toys import Bag, ByteTokenizer, random_table

from nextword.report.curves import RunSummary, write_report
from nextword.report.heatmap import write_heatmap
from nextword.report.page import resource
from nextword.scoring import score_text


def test_both_pages_have_the_same_head_and_styles(tmp_path: Path) -> None:
    write_report([RunSummary("poems", tmp_path, [])], tmp_path / "curves.html")
    write_heatmap(score_text(Bag(random_table(257)), ByteTokenizer(), "春"), tmp_path / "heatmap.html")
    pages = [(tmp_path / f"{kind}.html").read_text(encoding="utf-8") for kind in ("curves", "heatmap")]
    assert len({page.split("<title>")[0] for page in pages}) == 1
    for page, kind in zip(pages, ("curves", "heatmap"), strict=True):
        assert resource("plot.css") + resource("page.css") + resource(f"{kind}.css") in page
        assert page.count("<html") == page.count("</html>") == 1


def test_no_rule_of_the_shared_style_stands_again_in_another() -> None:
    shared = set(resource("page.css").splitlines())
    for kind in ("curves", "heatmap"):
        assert not shared & set(resource(f"{kind}.css").splitlines()) - {"}"}
