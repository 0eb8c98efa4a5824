"""For the site: links of pages to files outside docs/ lead into the repository.

Where its address (`repo_url` in mkdocs.yml) isn't given, the text stays without a link.
"""

from __future__ import annotations

import re
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    address = config.repo_url
    lead = rf"[\1]({address.rstrip('/')}/blob/main/\2)" if address else r"\1"
    return LINK.sub(lead, markdown)
