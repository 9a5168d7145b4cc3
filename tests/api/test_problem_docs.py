"""The page of problem codes is the code's own."""

from scripts.generate_problem_docs import PAGE, collect, page


def test_the_page_of_codes_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run scripts/generate_problem_docs.py"


def test_codes_of_every_kind_are_found() -> None:
    found = collect()
    assert found.answers["withdrawn"][0] == 410
    assert found.answers["idempotency-key-reused"][0] == 422
    assert found.answers["job-started"][0] == 409
    assert "unknown-regulation" in found.fields
    assert "not-parquet" in found.failures
