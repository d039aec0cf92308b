"""The host that runs widgets without a kernel: what it shows, shares, decodes and refuses."""

import base64
import json
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "book/_static/js"
HOST, AFTER_PAINT = ((SCRIPTS / name).read_text("utf-8") for name in ("widget_host.js", "after_paint.js"))
COUNTER = """export default {
    initialize({ model }) { window.started = (window.started ?? 0) + 1; },
    render({ model, el }) {
        const button = document.createElement("button");
        const write = () => { button.textContent = `count ${model.get("n")}`; };
        button.onclick = () => { model.set("n", model.get("n") + 1); model.save_changes(); };
        model.on("change:n change:unused", write);
        write();
        el.append(button);
    },
};"""
BYTES = """export default async () => ({
    render({ model, el }) {
        const values = new Float32Array(model.get("data").buffer);
        el.append(Array.from(values).join(" "), " ", model.get("nested").inner[1].getUint8(0).toString());
    },
});"""
BROKEN = 'export default { render() { throw new Error("on purpose"); } };'


def anywidget(esm, **values):
    """A widget's entry in the embedded state."""
    return {"model_module": "anywidget", "model_name": "AnyModel", "state": {"_esm": esm, **values}}


@pytest.fixture
def host(chromium):
    """Show a page with the given state and views, run the host on it, and hand the page over."""
    context = chromium.new_context()
    context.set_default_timeout(10_000)

    def show(state, *views, n_shown=None):
        """`state` and views are JSON-able, or text that stands on the page as it is (a view: in a tuple)."""
        page = context.new_page()
        page.errors = []
        page.on("console", lambda line: page.errors.append(line.text) if line.type == "error" else None)
        embedded = state if isinstance(state, str) else json.dumps({"state": state, "version_major": 2})
        texts = [view[0] if isinstance(view, tuple) else json.dumps({"model_id": view}) for view in views]
        places = "".join(
            f'<script type="application/vnd.jupyter.widget-view+json">{text}</script>' for text in texts
        )
        page.set_content(
            f'<body><script type="application/vnd.jupyter.widget-state+json">{embedded}</script>{places}'
            f"<script>{HOST}</script>"
        )
        page.locator(".widget-host[data-ready], .widget-note").nth((n_shown or len(views)) - 1).wait_for(
            state="attached"
        )
        return page

    yield show
    context.close()


def test_a_control_answers_without_a_kernel(host):
    page = host({"a": anywidget(COUNTER, n=3)}, "a")
    page.get_by_role("button", name="count 3").click()
    assert page.get_by_role("button", name="count 4").is_visible()


def test_two_views_of_one_widget_share_its_values(host):
    page = host({"a": anywidget(COUNTER, n=3)}, "a", "a")
    page.get_by_role("button").nth(1).click()
    assert page.get_by_role("button").all_inner_texts() == ["count 4", "count 4"]
    assert page.evaluate("window.started") == 1


def test_two_widgets_of_one_kind_do_not_share_values(host):
    page = host({"a": anywidget(COUNTER, n=3), "b": anywidget(COUNTER, n=7)}, "a", "b")
    page.get_by_role("button").nth(1).click()
    assert page.get_by_role("button").all_inner_texts() == ["count 3", "count 8"]


def test_bytes_arrive_as_they_were_left(host):
    data = base64.b64encode(bytes.fromhex("0000803f000000c0")).decode()  # 1 and -2 as little-endian float32
    entry = anywidget(BYTES, nested={"inner": [0, None]})
    entry["buffers"] = [
        {"path": ["data"], "encoding": "base64", "data": data},
        {"path": ["nested", "inner", 1], "encoding": "base64", "data": base64.b64encode(b"\x2a").decode()},
    ]
    assert host({"a": entry}, "a").locator(".widget-host").inner_text() == "1 -2 42"


def test_a_style_sheet_is_added_once(host):
    entries = {name: anywidget(COUNTER, n=1, _css="button { color: rgb(1, 2, 3) }") for name in "ab"}
    page = host(entries, "a", "b")
    assert page.locator("style").count() == 1
    assert page.get_by_role("button").first.evaluate("(b) => getComputedStyle(b).color") == "rgb(1, 2, 3)"


def test_a_control_of_ipywidgets_is_replaced_by_a_sentence(host):
    slider = {
        "model_module": "@jupyter-widgets/controls",
        "model_name": "IntSliderModel",
        "state": {"value": 3},
    }
    page = host({"slider": slider, "a": anywidget(COUNTER, n=3)}, "slider", "a")
    assert "needs Python" in page.locator(".widget-note").inner_text()
    assert page.get_by_role("button", name="count 3").is_visible()


def test_a_broken_control_leaves_a_sentence_and_the_others_run(host):
    page = host({"bad": anywidget(BROKEN), "a": anywidget(COUNTER, n=3)}, "bad", "a")
    assert "could not start" in page.locator(".widget-note").inner_text()
    assert page.locator(".widget-host").count() == 1
    assert any("on purpose" in line for line in page.errors)


def test_the_state_may_come_from_a_script_beside_the_page_once_that_is_drawn(chromium):
    state = json.dumps({"state": {"a": anywidget(COUNTER, n=3)}})
    scripts = {
        "host.js": HOST,
        "after_paint.js": AFTER_PAINT,
        "late.js": f"self.widgetState = {json.dumps(state)};",
        "gone.js": None,  # such a script does not arrive
    }
    place = '<script type="application/vnd.jupyter.widget-view+json">{"model_id": "a"}</script>'
    kept = '<div class="widget-host" data-heights="[[300,400]]" style="min-height: 400px"></div>'
    context = chromium.new_context()

    def serve(route):
        name = route.request.url.rpartition("/")[2]
        holder = f'<script type="application/vnd.jupyter.widget-state+json" data-src="{name}.js"></script>'
        loaded = "<script defer src=after_paint.js></script><script defer src=host.js></script>"
        own = f"<body><p>text</p>{loaded}{holder}{place}{kept}"
        text = scripts.get(name, own)
        if text is None:
            route.abort()
        else:
            route.fulfill(body=text, content_type="text/javascript" if name in scripts else "text/html")

    context.route("http://book.test/*", serve)
    page = context.new_page()
    page.goto("http://book.test/late")
    page.get_by_role("button", name="count 3").click()
    drawn, asked = page.evaluate("""["first-paint", "http://book.test/late.js"].map(
        (name) => performance.getEntriesByName(name)[0].startTime)""")
    assert drawn < asked  # text first
    page.goto("http://book.test/gone")
    page.locator(".widget-note", has_text="could not start").wait_for()
    assert page.locator(".widget-host").count() == 0  # nor an empty place
    context.close()


def test_a_view_without_state_leaves_a_sentence(host):
    assert "needs Python" in host({}, "gone").locator(".widget-note").inner_text()


@pytest.mark.parametrize("state", ["{", "null", "[]", '{"version_major": 2}', '{"state": null}', ""])
def test_a_broken_state_leaves_a_sentence_at_every_view(host, state):
    page = host(state, "a", "b")
    assert (
        len(page.locator(".widget-note").all_inner_texts()) == 2 and page.locator(".widget-host").count() == 0
    )


@pytest.mark.parametrize(
    "view",
    [
        ("{",),
        ("null",),
        ("",),
        ('{"model_id": {}}',),
        "__proto__",
        "constructor",
        "toString",
        "other",
        "nothing",
    ],
)
def test_a_broken_view_does_not_stop_the_controls_after_it(host, view):
    page = host({"other": 7, "nothing": None, "a": anywidget(COUNTER, n=3)}, view, "a")
    assert page.locator(".widget-note").count() == 1
    assert page.get_by_role("button", name="count 3").is_visible()


@pytest.mark.parametrize(
    "junk",
    [
        {"state": None},
        {"state": {"_esm": "export default {"}},
        {"state": {"_esm": "export const nothing = 1;"}},
        {"state": {"_esm": 'throw new Error("at once");'}},
        {"buffers": 3},
        {"buffers": [{"path": ["data"], "data": "not base64!"}]},
        {"buffers": [{"data": ""}]},
        {"buffers": [None]},
        {"buffers": [{"path": ["no", "such", "place"], "data": ""}]},
    ],
)
def test_a_control_of_junk_does_not_stop_the_others(host, junk):
    page = host({"bad": anywidget(COUNTER, n=1) | junk, "a": anywidget(COUNTER, n=3)}, "bad", "a")
    assert "could not start" in page.locator(".widget-note").inner_text()
    assert page.get_by_role("button", name="count 3").is_visible()


@pytest.mark.parametrize(
    "path",
    [
        ["__proto__", "n"],
        ["constructor", "prototype", "n"],
        ["nested", "__proto__", "n"],
        ["nested", "constructor", "prototype", "n"],
        ["list", "__proto__", "n"],
        ["list", "map", "n"],
    ],
)
def test_bytes_never_reach_what_every_object_inherits(host, path):
    bad = anywidget(COUNTER, nested={}, list=[0]) | {"buffers": [{"path": path, "data": ""}]}
    page = host({"bad": bad, "a": anywidget(COUNTER, n=3)}, "bad", "a")
    assert page.evaluate("[({}).n, (() => {}).n, [].map.n, [].n]") == [None] * 4
    assert "could not start" in page.locator(".widget-note").inner_text()
    assert page.get_by_role("button", name="count 3").is_visible()


@pytest.mark.parametrize("name", ["__proto__", "constructor", "toString"])
def test_a_value_may_have_any_name(host, name):
    esm = f"""export default {{ render({{ model, el }}) {{
        const before = model.get("{name}");
        const write = () => {{ el.textContent = [before, model.get("{name}"), model.get("valueOf")].join(); }};
        model.on("change:{name}", write);
        model.set("{name}", 5);
    }} }};"""
    assert host({"a": anywidget(esm, **{name: 4})}, "a").locator(".widget-host").inner_text() == "4,5,"


@pytest.mark.parametrize("where", ["render", "initialize", "module"])
def test_a_control_that_never_starts_holds_up_no_other(host, where):
    forever = "await new Promise(() => {});"
    esm = forever if where == "module" else f"export default {{ async {where}() {{ {forever} }} }};"
    page = host({"slow": anywidget(esm), "a": anywidget(COUNTER, n=3)}, "slow", "a", n_shown=1)
    page.get_by_role("button", name="count 3").click()
    assert page.get_by_role("button", name="count 4").is_visible()


def test_a_model_that_could_not_be_set_up_is_shown_by_no_view(host):
    esm = """export default {
        initialize() { throw new Error("on purpose"); },
        render({ el }) { el.append("shown"); },
    };"""
    page = host({"bad": anywidget(esm), "a": anywidget(COUNTER, n=3)}, "bad", "bad", "a")
    assert page.locator(".widget-note").count() == 2 and page.get_by_text("shown").count() == 0


def test_a_view_that_fails_at_a_change_does_not_keep_it_from_the_others(host):
    esm = """export default { render({ model, el }) {
        const turn = (window.turn = (window.turn ?? 0) + 1);
        model.on("change:n", () => {
            if (turn === 1) throw new Error("on purpose");
            el.textContent = `heard ${model.get("n")}`;
        });
        if (turn === 2) model.set("n", 9);
    } };"""
    page = host({"a": anywidget(esm, n=1)}, "a", "a")
    assert page.get_by_text("heard 9").is_visible()
    assert any("on purpose" in line for line in page.errors)
