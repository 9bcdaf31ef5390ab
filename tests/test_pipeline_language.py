"""The pipeline language and the plug-in table, with a plug-in installed as any other package would be."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from golden import Case, golden

from irc.diagnostics import IrcError
from irc.pipeline import plugins
from irc.pipeline.language import options_of, parse_pipeline
from irc.pipeline.plan import Guarded, Step, print_plan
from irc.text import read_graph
from irc.text.values import print_value

GRAPH = read_graph("""graph g at model {
  in x: f32[1, 2]
  const w: f32[2, 2] = [[1.0, 2.0], [3.0, 4.0]]
  a: f32[1, 2] = matmul(x, w) from "onnx:/body/fc"
  b: f32[1, 2] = relu(a)
  c: f32[1, 2] = matmul(b, w) from "onnx:/head/fc"
  d: f32[1, 2] = matmul(c, w)
  out y = d
}""")


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "plugin"))
    importlib.invalidate_caches()
    plugins.registered.cache_clear()
    yield
    plugins.registered.cache_clear()


def selected(text: str) -> set[str]:
    (step,) = parse_pipeline(f"idle @ {text}")
    assert isinstance(step, Step)
    return set(step.selector.select(GRAPH))


@golden("pipeline.case")
def test_pipeline(case: Case) -> None:
    steps = parse_pipeline(case.given)
    shown = [f"{s.word}: {print_value(s.pass_)} @ {print_value(s.selector)}" for s in steps]
    assert "\n".join(shown) == case.out


@golden("pipeline_errors.case")
def test_pipeline_error(case: Case) -> None:
    with pytest.raises(IrcError) as problem:
        parse_pipeline(case.given)
    assert str(problem.value) == case.out


@pytest.mark.parametrize(("text", "names"), [
    ("op(matmul)", {"a", "c", "d"}),
    ("first", {"a"}),
    ("last", {"d"}),
    ("weighted & !first & !last", {"c"}),
    ('name("b") | first', {"a", "b"}),
    ('name("/head/*")', {"c"}),
    ('name("onnx:/body/*")', {"a"}),
    ("!weighted", {"b"}),
    ("op(conv)", set()),
])
def test_selector_takes_the_nodes_it_describes(text: str, names: set[str]) -> None:
    assert selected(text) == names


def test_step_keeps_the_text_the_user_wrote() -> None:
    _, step = parse_pipeline("idle,  demo{ratio=0.5} @ first  ")
    assert step.text == "demo{ratio=0.5} @ first"


def test_include_is_relative_to_the_including_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.passes").write_text("idle\n@sub/b.passes\n")
    (tmp_path / "sub" / "b.passes").write_text("@c.passes, demo")
    (tmp_path / "sub" / "c.passes").write_text("demo{ratio=1}")
    steps = parse_pipeline(f"@{tmp_path}/a.passes")
    assert [s.text for s in steps] == ["idle", "demo{ratio=1}", "demo"]


def test_error_in_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.passes").write_text("idle\n\n  demo{ratoi=1}\n")
    with pytest.raises(IrcError) as problem:
        parse_pipeline(f"idle, @{tmp_path}/a.passes")
    place = problem.value.diagnostics[0].place
    assert (place.file, place.line, place.column) == (str(tmp_path / "a.passes"), 3, 8)


def test_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.passes").write_text("@b.passes")
    (tmp_path / "b.passes").write_text("idle, @a.passes")
    with pytest.raises(IrcError, match=r"E301.*includes itself"):
        parse_pipeline(f"@{tmp_path}/a.passes")


def test_missing_include_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IrcError, match="E101"):
        parse_pipeline(f"@{tmp_path}/none.passes")


def test_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(IrcError, match=r"E501.*Did you mean 'verilog'"):
        plugins.find_backend("verilgo")


def test_own_passes_are_registered_like_any_plug_in() -> None:
    assert {"fold", "quantize", "dataflow", "idle"} <= set(plugins.pass_names())
    assert {"verilog", "hls", "sim"} <= set(plugins.backend_names())


def test_a_broken_plug_in_is_passed_over_with_a_warning_and_takes_no_other_along() -> None:
    with pytest.warns(plugins.PluginWarning, match="E307.*plug-in"):
        usable = plugins.usable_passes()
    assert "fold" in usable
    assert set(usable) < set(plugins.pass_names())


@pytest.mark.parametrize("text", ["idle @ " + "!" * 5000 + "first", "demo{sizes=" + "[" * 5000 + "]" * 5000 + "}"])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(IrcError, match=r"E301.*nested too deeply"):
        parse_pipeline(text)


def test_options_are_described_in_words() -> None:
    described = {o.name: (o.takes, o.default) for o in options_of(plugins.find_pass("demo"))}
    assert described == {
        "ratio": ("a number from 0 to 1", "0.5"),
        "block": ("a whole number or none from 1", "none"),
        "mode": ("mean, median", "mean"),
        "format": ("a number format such as s8 or f32", "s8"),
        "only": ("an integer format such as s8", "u8"),
        "sizes": ("a list such as [a whole number] from 1 to 64", "[]"),
        "exact": ("true or false", "false"),
    }


GUARDS = [
    "try(idle) until accuracy>=-0.5",
    "try(idle, demo{ratio=0.25 block=4} @ first) until bits<=+0.03",
    "try(demo) until cosine>=0.99 else (idle, demo{mode=\"median\"})",
    "try(try(demo) until mse<=0.001) until accuracy>=98 else (try(demo) until accuracy>=+0 else (idle))",
    "idle, demo{format=p2e6 sizes=[1, 2]} @ ((op(conv) | !first) & name(\"a\\\"*\")), try(idle) until mse<=1e-05",
]


@pytest.mark.parametrize("text", GUARDS)
def test_a_plan_is_printed_as_the_text_that_reads_it(text: str) -> None:
    assert print_plan(parse_pipeline(text)) == text


def guard(text: str) -> Guarded:
    (found,) = parse_pipeline(text)
    assert isinstance(found, Guarded)
    return found


@pytest.mark.parametrize("text", [
    "try(idle,demo)until accuracy>=-.5 else demo",
    "try (\n  idle\n  demo  # harder\n)\n# to the letter\nuntil accuracy>=-0.5\nelse (\n  demo\n)",
    "try(idle, demo) until accuracy >= -5e-1 else (demo,)",
])
def test_a_guard_may_be_laid_out_in_any_way(text: str) -> None:
    assert str(guard(text)) == "try(idle, demo) until accuracy>=-0.5 else (demo)"


def test_the_comma_ends_the_other_part() -> None:
    assert [str(item) for item in parse_pipeline("try(idle) until mse<=1 else demo, idle")] == [
        "try(idle) until mse<=1 else (demo)", "idle"]


@pytest.mark.parametrize(("limit", "relative"), [("-0.5", True), ("+0.5", True), ("98.0", False), ("0", False)])
def test_a_sign_makes_a_limit_relative(limit: str, relative: bool) -> None:
    bound = guard(f"try(idle) until accuracy>={limit}").bound
    assert (bound.limit, bound.relative) == (float(limit), relative)


def test_a_selector_behind_a_guard_narrows_all_its_steps() -> None:
    found = guard("try(idle, demo @ last) @ weighted until mse<=1 else demo")
    assert str(found) == "try(idle @ weighted, demo @ (weighted & last)) until mse<=1 else (demo @ weighted)"


def test_named_pipelines_and_files_may_stand_in_guards(tmp_path: Path) -> None:
    (tmp_path / "a.passes").write_text("try(twice) until mse<=1\nelse @b.passes")
    (tmp_path / "b.passes").write_text("idle, demo")
    (found,) = parse_pipeline(f"@{tmp_path}/a.passes")
    assert str(found) == "try(idle, demo{ratio=0.25} @ weighted) until mse<=1 else (idle, demo)"


def test_try_until_and_else_are_words_only_in_their_places() -> None:
    with pytest.raises(IrcError, match=r"E302.*there is no pass 'until'"):
        parse_pipeline("until, else")
    assert str(parse_pipeline("idle @ name(else)")[0]) == 'idle @ name("else")'
