"""A person with a browser: opens the page, logs in, agrees, comes back.

usage: browser.py LOG HOW URL

HOW is what the person does: `agree`, `refuse`, `stay away`; or what happens on
the way: `wrong state`, `wrong issuer` (somebody else comes to the callback
first, or the answer names another issuer). Every page's address and status,
and the last page's text, go to LOG, one JSON object a line.
"""

import html.parser
import http.cookiejar
import json
import sys
import urllib.error
import urllib.parse
import urllib.request


class Form(html.parser.HTMLParser):
    """The first form of a page and its fields."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = attrs["action"]
        if tag == "input" and attrs.get("name"):
            self.fields[attrs["name"]] = attrs.get("value") or "somebody"


class Stop(urllib.request.HTTPRedirectHandler):
    """Redirects are followed by hand, one by one."""

    def redirect_request(self, *_):
        return None


def main(log, how, url):
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar), Stop
    )

    def note(entry):
        with open(log, "a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")

    def visit(url, data=None):
        try:
            answer = opener.open(url, data)
        except urllib.error.HTTPError as error:
            answer = error
        page = answer.read().decode()
        note({"address": url, "status": answer.status})
        return answer.headers.get("Location"), page

    note({"opened": url})
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    if how == "stay away":
        return
    if how == "wrong state":
        forged = urllib.parse.urlencode({"code": "forged", "state": "forged"})
        visit(f"{asked['redirect_uri']}?{forged}")
    data = None
    for _ in range(20):
        location, page = visit(url, data)
        data = None
        if location:
            url = urllib.parse.urljoin(url, location)
            if how == "wrong issuer" and url.startswith(asked["redirect_uri"]):
                url = url.replace("iss=http", "iss=https%3A%2F%2Fevil.example.com%2Fhttp")
            continue
        form = Form(page)
        if form.action is None:
            note({"end": page})
            return
        url = urllib.parse.urljoin(url, form.action)
        if how == "refuse":
            url += "/abort"
        else:
            data = urllib.parse.urlencode(form.fields).encode()


main(*sys.argv[1:])
