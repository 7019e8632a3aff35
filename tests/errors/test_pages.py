"""Every error code has a page; its first program fails with that code, its second one runs."""

from importlib import resources

import pytest

from errors.pages import HEADINGS, programs, run
from graphc.cli.explain import page
from graphc.errors import CODES, UserError

NOT_IN_THE_PROGRAM = {
    "GC0305": "the number is missing at a call, and no operation is to blame",
    "GC0402": "a backend's name belongs to no operation",
    "GC0403": "what is missing is on the machine",
    "GC0405": "the program as a whole needs the memory",
    "GC0501": "the fault is in a file",
    "GC0502": "the fault is in a file",
    "GC0503": "the fault is in a command",
    "GC0504": "what is missing is on the machine",
    "GC0505": "the fault is in a model from outside",
    "GC0302": "the fault is in the arguments of a call, which the message names",
    "GC0303": "the fault is in the arguments of a call, which the message names",
    "GC0304": "the fault is in the arguments of a call, which the message names",
}
"""Codes whose message quotes no line, each with the reason."""

WITHOUT_A_PROGRAM = {"GC0406": "a device that fails is needed; no program is wrong"}
"""Codes whose page has no program, each with the reason."""
WITH_PROGRAMS = [code for code in CODES if code not in WITHOUT_A_PROGRAM]


@pytest.fixture(autouse=True)
def _no_traces(tmp_path, monkeypatch):
    """Programs may change the environment and write beside themselves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHC_DOT", "")


@pytest.mark.parametrize("code", CODES)
def test_a_page_has_all_its_parts(code):
    text = page(code)
    assert text.startswith(f"# {code}: {CODES[code]}\n")
    places = [text.find(heading) for heading in HEADINGS]
    assert places == sorted(places)
    assert (places[0] < 0) == (code in WITHOUT_A_PROGRAM)
    assert places[-1] > 0


@pytest.mark.parametrize("code", WITH_PROGRAMS)
def test_the_first_program_fails_with_the_code(code, tmp_path):
    failing, _ = programs(code)
    with pytest.raises(UserError) as caught:
        run(failing, tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize("code", WITH_PROGRAMS)
def test_the_message_quotes_the_line_and_marks_the_expression(code, tmp_path):
    failing, _ = programs(code)
    with pytest.raises(UserError) as caught:
        run(failing, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{code}: ")
    assert message.endswith(f"graphc explain {code}")
    if code not in NOT_IN_THE_PROGRAM:
        assert "program.py:" in message
        quoted = [line.strip() for line in message.splitlines()]
        assert any(line.strip() in quoted for line in failing.splitlines() if line.strip())
        assert any(set(line) == {"^"} for line in quoted), message


@pytest.mark.parametrize("code", WITH_PROGRAMS)
def test_the_second_program_runs(code, tmp_path):
    _, repaired = programs(code)
    run(repaired, tmp_path)
    assert (tmp_path / "program.py").exists()


def test_no_page_is_left_over():
    pages = {p.name[:6] for p in resources.files("graphc.cli.explain").iterdir() if ".md" in p.name}
    assert pages == set(CODES)
