"""Forms: the entry list, its encodings, what is refused; and one that is filled in and sent over the wire."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

from crawler import charset
from crawler.errors import HandlerError, SelectorError
from crawler.models import Request
from crawler.spider import Spider
from crawler.testing import Site, run
from tests.test_response import URL, page

SIGN_IN = """<form id=login action="/session?x=1" method=POST>
<input type=hidden name=csrf value=t0k3n><input name=user><input type=password name=password>
<input type=checkbox name=stay value=yes checked><input type=checkbox name=news>
<select name=lang><option>de<option value=en>English</select>
<textarea name=note>
two
lines</textarea><input type=radio name=size value=s checked><input type=radio name=size value=m checked>
<button name=do value=enter>Enter</button><button name=do value=forget>Forgot</button><input type=reset name=r>
</form>"""


def sent(request: Request) -> list[tuple[str, str]]:
    """The fields of a request, from its body or its query."""
    text = request.body.decode() if request.body is not None else urlsplit(request.url).query
    return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))


def entries(html: str, *fields: dict[str, object], **named: object) -> list[tuple[str, str]]:
    """What the only form of a page sends."""
    return sent(page(f"<!doctype html>{html}").form(None, *fields, **named))  # type: ignore[arg-type]  # wrong ones too


def test_a_form_is_sent_as_it_stands_with_what_is_filled_in() -> None:
    """Hidden fields, ticked boxes, the first option, the last radio, the text area and the first button are sent."""
    request = page(SIGN_IN).form("form#login", user="ann", password="s & é", to="home", priority=2)
    assert (request.method, request.url) == ("POST", "https://books.example/session?x=1")
    assert (request.handler, request.priority, request.depth) == ("home", 2, 1)
    assert request.headers == {
        "Content-Type": "application/x-www-form-urlencoded", "Origin": "https://books.example", "Referer": URL,
    }  # fmt: skip
    assert sent(request) == [
        ("csrf", "t0k3n"), ("user", "ann"), ("password", "s & é"), ("stay", "yes"), ("lang", "de"),
        ("note", "two\r\nlines"), ("size", "m"), ("do", "enter"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("html", "given", "expected"),
    [
        pytest.param("<input name=a value=1><input><input name='' value=2>", {}, "a=1", id="no name"),
        pytest.param("<input name=a value=1 disabled>", {}, "", id="disabled"),
        pytest.param("<input name=a value=1 disabled>", {"a": "2"}, "a=2", id="disabled, but given"),
        pytest.param(
            "<fieldset disabled><legend><input name=a></legend><legend><input name=b></legend><input name=c>",
            {}, "a=", id="disabled fieldset, but for its first legend",
        ),
        pytest.param("<datalist><input name=a></datalist><template><input name=b></template>", {}, "", id="datalist"),
        pytest.param("<input type=checkbox name=a checked><input type=checkbox name=b>", {}, "a=on", id="box"),
        pytest.param("<input type=checkbox name=a checked>", {"a": False}, "", id="box unticked"),
        pytest.param("<input type=checkbox name=a value=7>", {"a": True}, "a=7", id="box ticked"),
        pytest.param(
            "<input type=checkbox name=a value=1><input type=checkbox name=a value=2>"
            "<input type=checkbox name=a value=3>", {"a": ["1", "3"]}, "a=1&a=3", id="boxes of one name",
        ),
        pytest.param("<input type=hidden name=a value=0><input type=checkbox name=a value=1>", {"a": True},
                     "a=0&a=1", id="hidden value before a box"),
        pytest.param("<input type=radio name=a value=1 checked><input type=radio name=a value=2>", {"a": "2"}, "a=2",
                     id="radio"),
        pytest.param("<input type=radio name=a value=1><input type=radio name=a value=2>", {}, "", id="no radio"),
        pytest.param("<select name=a><option disabled>1<option>2</select>", {}, "a=2", id="first usable option"),
        pytest.param("<select name=a><optgroup disabled><option>1</optgroup><option>2</select>", {}, "a=2",
                     id="disabled group"),
        pytest.param("<select name=a><option selected>1<option selected>2</select>", {}, "a=2", id="last selected"),
        pytest.param("<select name=a size=3><option>1<option>2</select>", {}, "", id="a list box selects nothing"),
        pytest.param("<select name=a multiple><option selected>1<option selected>2</select>", {}, "a=1&a=2",
                     id="multiple"),
        pytest.param("<select name=a multiple><option>1<option>2<option>3</select>", {"a": ["1", "3"]}, "a=1&a=3",
                     id="multiple, given"),
        pytest.param("<select name=a><option> one <b>two</b>\n</select>", {}, "a=one+two", id="an option's text"),
        pytest.param("<input name=a value='&#10;x'><input type=hidden name=b value='&#10;x'>", {}, "a=x&b=%0D%0Ax",
                     id="line breaks"),
        pytest.param("<input name=a><input name=a value=2>", {"a": ["1"]}, "a=1&a=2", id="a list fills in order"),
        pytest.param("<input name=a value=1><input name=b value=2>", {"a": None}, "b=2", id="None leaves out"),
        pytest.param("<input name=a>", {"a": 7}, "a=7", id="a number"),
        pytest.param("<input type=image name=i value=v>", {}, "i.x=0&i.y=0", id="image"),
        pytest.param("<input type=image>", {}, "x=0&y=0", id="image without a name"),
        pytest.param("<input type=submit name=s disabled><input type=submit name=t>", {}, "", id="disabled button"),
        pytest.param("<button type=button name=a>1</button><button name=b value=2>", {}, "b=2", id="plain button"),
        pytest.param("<button name=a value=1></button><button name=a value=2>", {"a": "2"}, "a=2", id="by value"),
        pytest.param("<input type=file name=f>", {}, "f=", id="no file"),
        pytest.param("<input type=hidden name=_charset_>", {}, "_charset_=utf-8", id="_charset_"),
        pytest.param("<input name=a dirname=d value=1>", {}, "a=1&d=ltr", id="dirname"),
        pytest.param("<input type=range name=a><input type=color name=b>", {}, "a=50&b=%23000000", id="range, color"),
        pytest.param("<input name=a value='a b~*-._!'>", {}, "a=a+b%7E*-._%21", id="urlencoded"),
    ],
)  # fmt: skip
def test_the_entry_list(html: str, given: dict[str, object], expected: str) -> None:
    """Each control contributes what the HTML Standard's "constructing the entry list" says, in tree order."""
    assert page(f"<form method=post>{html}</form>").form(None, given).body == expected.encode()  # type: ignore[arg-type]  # a table's values


def test_controls_belong_to_their_form() -> None:
    """A control belongs to the form around it, to the one it names, or to the one that its table could not hold."""
    html = "<table><form id=one><tr><td><input name=a></form></table><input name=b form=one><form id=two><input name=c>"
    both = f"{html}<input name=d form=one><input name=e form=none></form><input name=f>"
    assert sent(page(both).form("#one")) == [("a", ""), ("b", ""), ("d", "")]
    assert sent(page(both).form("#two")) == [("c", "")]
    assert sent(page(both).form("input[name=c]")) == [("c", "")]


@pytest.mark.parametrize(
    ("html", "url"),
    [
        ("<form action='/find?old=1#top'><input name=q value='a b'></form>", "https://books.example/find?q=a+b"),
        ("<form action=''><input name=q value=1></form>", URL + "?q=1"),
        ("<base href=/other/><form><input name=q value=1></form>", URL + "?q=1"),
        ("<base href=/other/><form action=find><input name=q value=1></form>", "https://books.example/other/find?q=1"),
        ("<form method=post><input name=q value=1><button formmethod=get formaction=/b></form>",
         "https://books.example/b?q=1"),
    ],
)  # fmt: skip
def test_a_get_form_is_a_plain_request(html: str, url: str) -> None:
    """The fields replace the action's query; a button's own method and action win over the form's."""
    assert page(html).form() == Request(url, depth=1)


def test_multipart() -> None:
    """multipart/form-data has a part for each entry, an empty file for a file field, and the same boundary again."""
    html = """<form method=post enctype=multipart/form-data><input name='a"b' value=1><input type=file name=f></form>"""
    request = page(html).form()
    boundary = request.headers["Content-Type"].removeprefix("multipart/form-data; boundary=")
    expected = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="a%22b"\r\n\r\n1\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename=""\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n\r\n--{boundary}--\r\n"
    )
    assert request.body == expected.encode()
    assert page(html).form() == request


def test_plain_text_and_foreign_encodings() -> None:
    """text/plain has a line for each field; what the page's encoding lacks is sent as a character reference."""
    plain = page("<form method=post enctype=text/plain><input name=a value='x y'></form>").form()
    assert (plain.body, plain.headers["Content-Type"]) == (b"a=x y\r\n", "text/plain")
    html = "<form method=post><input name=a><input type=hidden name=_charset_></form>"
    latin = page(html, content_type="text/html; charset=latin1").form(a="é€ж")
    assert latin.body == b"a=%E9%80%26%231078%3B&_charset_=windows-1252"
    utf8 = page(html.replace("post", "post accept-charset=utf-8"), content_type="text/html; charset=latin1")
    assert utf8.form(a="é").body == b"a=%C3%A9&_charset_=utf-8"


@pytest.mark.parametrize(
    ("action", "headers"),
    [
        ("/x", {"Origin": "https://books.example", "Referer": URL}),
        ("https://pay.example/x", {"Origin": "https://books.example", "Referer": "https://books.example/"}),
        ("http://books.example/x", {"Origin": "null"}),
    ],
)
def test_who_sends_it(action: str, headers: dict[str, str]) -> None:
    """A POST says where it comes from as a browser does, and no more than that; the author's own headers win."""
    response = page(f"<form method=post action={action}><input name=a></form>")
    assert response.form().headers == {"Content-Type": "application/x-www-form-urlencoded", **headers}
    assert response.form(headers={"origin": "x"}).headers["origin"] == "x"


@pytest.mark.parametrize(
    ("selector", "given", "named", "complaint"),
    [
        ("#login", {}, {"usr": 1}, r"the form '#login' on https://books\.example/.*no field 'usr'; did you mean 'user"),
        ("#login", {}, {"lang": "fr"}, "no 'lang' with the value 'fr'; there are 'de', 'en'"),
        ("#login", {}, {"submit": "go"}, "no submit button 'go'; there are 'do'"),
        ("#login", {}, {"do": "leave"}, "no button 'do' with the value 'leave'; there are 'enter', 'forget'"),
        ("#login", {}, {"size": True}, "'size' is a choice: give a value"),
        ("#login", {}, {"user": ["a", "b"]}, "'user' is there 1 times"),
        ("#login", {}, {"user": b"a"}, "the form .* on .*: 'user' takes text or a number"),
        ("#logout", {}, {}, "the form '#logout' on .*: there is no such form"),
        ("p", {}, {}, "no such form"),
        (None, {}, {}, r"there are 3 forms: say which by a selector \(#login, form\[action='/dialog'\], form\)"),
        ("form[method=dialog]", {}, {}, "it belongs to a dialog"),
        ("form:last-of-type", {}, {"to": "parse"}, "it has a field 'to', which is an option too"),
        ("form:last-of-type", {"file": "x"}, {}, "files cannot be given"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(
    selector: str | None, given: dict[str, str], named: dict[str, object], complaint: str
) -> None:
    """A form, field, button or choice that is not there is a SelectorError: where, and what was likely meant."""
    others = "<p></p><form action=/dialog method=dialog></form><form><input name=to><input type=file name=file></form>"
    with pytest.raises(SelectorError, match=complaint):
        page(SIGN_IN + others).form(selector, given, **named)  # type: ignore[arg-type]  # that is what is tested


def test_a_field_named_like_an_option_stands_in_the_dict() -> None:
    """With its value in the dict, both the field and the option are clear."""
    request = page("<form><input name=to><input name=body></form>").form(None, {"to": "LHR"}, to="flights", body="x")
    assert (request.handler, sent(request)) == ("flights", [("to", "LHR"), ("body", "x")])


def test_an_action_that_is_no_url_of_the_web() -> None:
    """A form that goes nowhere a crawler can is a HandlerError with the page."""
    with pytest.raises(HandlerError, match=r"on https://books\.example/list/index\.html: 'javascript:go\(\)'"):
        page("<form action='javascript:go()'></form>").form()


def test_every_encoding_of_a_page_has_a_name() -> None:
    """Whatever codec a page is read with, a form in it can say so."""
    for label in ("utf8", "latin1", "sjis", "gbk", "euc-kr", "koi8", "x-cp1251", "mac", "big5", "866", "l2"):
        codec = charset.codec_for(label)
        assert codec is not None
        assert charset.codec_for(charset.name_of(codec)) == codec


class Search(Spider):
    """Fills in a form, and takes what came of it."""

    def parse(self, response):
        yield response.form("#login", user="ann", password="pa&ss", to=self.home)
        yield self.request(response.url + "api", form={"tag": ["a", "b"], "n": 1}, to=self.home)

    def home(self, response):
        yield response.json()


async def test_over_the_wire(tmp_path: Path) -> None:
    """The server gets the fields, by a form of the page and by one that the author made up."""

    async def answer(request: web.Request) -> dict[str, object]:
        posted = await request.post()
        return {name: [str(one) for one in posted.getall(name)] for name in posted}

    async with Site() as site:
        for html in (SIGN_IN, SIGN_IN.replace("method=POST", "method=POST enctype=multipart/form-data")):
            site.page("/", html)
            site.answer("/session", answer)
            site.answer("/api", answer)
            spider = Search()
            spider.seeds = [site.url("/")]
            items = sorted(await run(spider, site), key=len)
            assert items[0] == {"tag": ["a", "b"], "n": ["1"]}
            assert items[1]["user"] == ["ann"]
            assert items[1]["password"] == ["pa&ss"]
            assert items[1]["csrf"] == ["t0k3n"]
