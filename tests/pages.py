"""The contents of a page: the data for its script, and its text without markup."""

import base64
import gzip
import html
import json
import re


def data_of(page):
    """The data of a page."""
    packed = re.search(r'id="data">([^<]*)<', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def text_of(page):
    """The text of a page before its script runs."""
    bare = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    bare = re.sub(r"</?a\b[^>]*>", "", bare)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", bare)).split())
